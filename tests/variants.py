"""Tables that several tests share: parameters with which games are examined, and what turns mechanisms off.

They are read with ``runpy.run_path``, for tests are no package.
"""

from __future__ import annotations

from typing import Any

from societas.envs.norms.matrix_game import MatrixGame

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "Allocation": [
        {"repetitions": 3},
        {"goods": 3, "decider": "unanimity", "coins": 2},
        {"people": 2, "goods": 5, "decider": "unanimity", "repetitions": 2},
        {"goods": 3, "coins": 4, "coin": 5.0, "values": ((50, 30, 20), (40, 40, 20), (30, 30, 40))},
    ],
    "CheapTalk": [
        {"bias": -0.02, "messages": 3, "repetitions": 3},
        {"bias": 0.01, "messages": 8, "repetitions": 2},
        {"bias": 0.3, "messages": 2},
        {"bias": 0.0, "messages": 1},
    ],
    "CommonPool": [
        {"endowment": 25, "repetitions": 3},
        {"users": 2, "gain": 2.5, "outside": 2.0, "repetitions": 3},
        {"users": 3, "endowment": 2, "repetitions": 2},
        {"users": 5, "endowment": 40, "gain": 10.0, "loss": 0.07, "outside": -1.5, "repetitions": 4},
    ],
    "Commons": [
        {"scenario": "pasture", "months": 4, "newcomer": 2},
        {"scenario": "pollution", "months": 3, "sharing": "proportional"},
        {"users": 3, "capacity": 40, "months": 5, "growth": "logistic", "rate": 0.7},
        {
            "users": 2,
            "capacity": 9,
            "months": 3,
            "growth": "logistic",
            "rate": 2.0,
            "collapse": 0,
            "sharing": "proportional",
            "newcomer": 3,
        },
    ],
    "Delegation": [{"bias": -0.3, "repetitions": 3}, {"bias": 0.7, "repetitions": 2}, {"bias": 0.0}],
    "Deliberation": [
        {"repetitions": 3},
        {"issues": 2, "ratify": False, "citizens": 4, "repetitions": 2},
        {"citizens": 3, "words": 6},
        {"citizens": 3, "rule": "borda", "revise": False, "ratify": False},
        {"rule": "plurality", "revise": False, "quo": 0.4, "repetitions": 2},
        {"citizens": 4, "rule": "score", "revise": False, "ratify": False, "issues": 3},
    ],
    "Dictator": [{"rate": 2.0, "repetitions": 3}],
    "Donor": [
        {"members": 4, "norm": "L1", "execution": 0.1, "assessment": 0.05, "knowledge": 0.7, "repetitions": 3},
        {"members": 12, "benefit": 2.0, "norm": "none", "trace": 3, "amounts": True, "repetitions": 2},
        {"members": 5, "norm": "image", "knowledge": 0.6, "trace": 2, "repetitions": 3},
        {"members": 5, "norm": "stern", "public": False, "assessment": 0.1, "execution": 0.1, "repetitions": 3},
        {
            "members": 4,
            "norm": (1, 0, 0, 1),
            "amounts": True,
            "knowledge": 0.5,
            "trace": 1,
            "threshold": 0.3,
            "repetitions": 2,
        },
        {"members": 3, "norm": "image", "public": False, "assessment": 0.1, "repetitions": 3},
    ],
    "Fishery": [{"fishers": 2, "capacity": 9, "months": 3, "growth": 3, "collapse": 0}],
    "GiftExchange": [
        {
            "value": 126.0,
            "profit": "product",
            "fixed_cost": 26.0,
            "min_wage": 30.0,
            "max_wage": 126.0,
            "repetitions": 3,
        },
        {"efforts": (0.5, 1.0), "costs": (1.0, 3.0), "value": 9.0, "max_wage": 9.0},
    ],
    "GridCommons": [
        {
            "kind": "harvest",
            "foragers": 3,
            "width": 6,
            "height": 5,
            "steps": 10,
            "timeout": 3,
            "regrowth": (0.1, 0.2, 0.3, 0.4),
        },
        {
            "kind": "mushrooms",
            "foragers": 3,
            "width": 6,
            "height": 5,
            "steps": 10,
            "timeout": 3,
            "zap_cost": 0.5,
            "sight": 1,
        },
        {"foragers": 3, "width": 6, "height": 5, "steps": 10, "timeout": 0, "dirt": 0.0, "breadth": 0},
    ],
    "HiddenAction": [
        {"utility": "linear", "reservation": 0.0, "outcomes": (0.0, 10.0), "repetitions": 2},
        {
            "outcomes": (0.0, 10.0, 30.0),
            "chances": ((0.6, 0.3, 0.1), (0.3, 0.4, 0.3), (0.1, 0.3, 0.6)),
            "costs": (0.0, 0.5, 1.2),
            "repetitions": 3,
        },
    ],
    "HoldUp": [
        {"ownership": 0.3, "power": 0.7, "bargaining": "ultimatum"},
        {"ownership": 1, "repetitions": 3},
    ],
    "IncompleteContract": [
        {"remedy": "renegotiation", "written": 3, "enforcement": 0.6, "repetitions": 12},
        {"remedy": "bonus", "written": 8, "discount": 0.5, "repetitions": 20},
        {"remedy": "court", "contingencies": 4, "written": 0, "accuracy": 0.2, "discount": 0.3},
        {"remedy": "care", "angle": 60.0, "discount": 0.3},
    ],
    "MatrixGame": [
        {"repetitions": 4},
        {"payoffs": (((4, 0), (3, 3)), ((4, 3), (0, 3))), "actions": ("stag", "hare")},
        {"payoffs": (((0, -5), (5, -10)), ((0, 5), (-5, -10))), "actions": ("swerve", "straight")},
        {"payoffs": MatrixGame.public_goods(3).payoffs, "actions": ("give", "keep"), "repetitions": 2},
        {"payoffs": (((1, -1), (-1, 1)), ((-1, 1), (1, -1))), "actions": ("heads", "tails"), "repetitions": 2},
    ],
    "MultiUnit": [
        {"decay": 1, "repetitions": 3},
        {"bidders": 3, "units": 4, "decay": 0.6, "pricing": "vcg"},
        {"bidders": 5, "units": 3, "demand": 1, "pricing": "discriminatory", "repetitions": 2},
        {"bidders": 3, "decay": 1.0, "pricing": "discriminatory"},
        {"bidders": 4, "demand": 1},
    ],
    "Multitask": [
        {"value": (1, 1), "cost": ((1, 0.5), (0.5, 1)), "loadings": ((1, 0),), "noise": ((1,),), "repetitions": 2},
        {
            "value": (1.0,),
            "cost": ((1.0,),),
            "loadings": ((1.0,),),
            "risk_aversion": 2.0,
            "utility": "cara",
            "repetitions": 3,
        },
        {
            "value": (1.0,),
            "cost": ((1.5,),),
            "loadings": ((1.0,), (0.0,)),
            "noise": ((1.0, 0.6), (0.6, 1.0)),
            "lowest_slope": -1.0,
            "reservation": -0.1,
        },
    ],
    "Naming": [
        {
            "agents": 5,
            "pairing": "pair",
            "names": ("a", "b", "c"),
            "committed": 2,
            "since": 4,
            "convention": 0,
            "memory": 2,
            "repetitions": 8,
        },
        {"agents": 4, "stop": True, "repetitions": 9},
        {"agents": 6, "committed": 2, "convention": 0, "stop": True, "since": 3, "repetitions": 10},
        {"names": tuple("ABCDEFGHIJ"), "repetitions": 6},
    ],
    "NormsGame": [
        {"agents": 6, "metanorms": True, "repetitions": 3},
        {"agents": 4, "opportunities": 2, "metanorms": True, "observers": "witnesses again", "bits": 2},
        {"agents": 3, "metanorms": True, "observers": "witnesses", "temptation": 1.5, "repetitions": 2},
        {"agents": 2, "temptation": 5.0},
    ],
    "Pricing": [{"firms": 3, "prices": 5, "periods": 6}],
    "Procurement": [
        {"types": (0.0, 1.0), "continuum": True, "benefit": 1.0, "repetitions": 3},
        {
            "types": (0.5, 1.0, 1.25, 2.0),
            "chances": (0.1, 0.2, 0.1, 0.6),
            "items": 2,
            "benefit": 3.0,
            "repetitions": 3,
        },
        {"types": (0.5, 1.0, 3.0), "items": 4, "benefit": 2.0, "weight": 0.6},
    ],
    "PublicGoods": [
        {"unit": 20, "members": 2, "mpcr": 0.75, "repetitions": 3},
        {"kind": "threshold", "members": 3, "threshold": 41, "refund": True, "repetitions": 3},
        {"kind": "threshold", "threshold": 10, "benefit": 15.0, "unit": 5},
        {"kind": "voluntary", "members": 5, "endowment": 1, "others_only": True},
        {"kind": "voluntary", "members": 3, "endowment": 4, "multiplier": 3.5, "repetitions": 3},
        {"kind": "voluntary", "multiplier": 1.2, "outside": 5.0},
    ],
    "Relational": [
        {"delta": 0.6, "fallback": 0.25, "repetitions": 23},
        {"delta": 0.3, "fallback": 0.2, "repetitions": 10},
        {"delta": 0.4, "fallback": 0.04, "cost": 3.0, "max_pay": 0.5 / 3.0, "repetitions": 13},
    ],
    "Screening": [
        {"types": (0.0, 1.0), "continuum": True, "repetitions": 3},
        {"types": (2.0, 2.5, 3.0, 4.0), "chances": (0.4, 0.1, 0.3, 0.2), "items": 2, "repetitions": 3},
        {"types": (-0.5, 1.0, 1.2), "chances": (0.2, 0.5, 0.3), "items": 4, "cost": 0.5},
    ],
    "SealedBid": [
        {"pricing": "first", "reserve": 0.3, "repetitions": 3},
        {"pricing": "all_pay", "bidders": 2, "reserve": None, "repetitions": 2},
        {"pricing": "mixed", "mix": 0.3, "bidders": 4, "common": 0.6, "reserve": 0.2},
        {"pricing": "first", "bidders": 2, "common": 1.0, "affiliated": True},
        {"bidders": 1, "reserve": None, "worth": 0.6},
    ],
    "SillyRules": [
        {"repetitions": 3, "altar": "public", "change": 0.3, "newcomers": 2, "delay": 0},
        {"altar": "public", "change": 0.5, "kinds": 6, "silly": 3, "delay": 7, "repetitions": 5},
        {"taboos": "important", "fine": 0.5, "bounty": 0.25, "foragers": 2, "kinds": 2, "repetitions": 4},
        {"taboos": "none", "delay": 1, "harm": 0.5, "repetitions": 2},
    ],
    "Team": [
        {"rule": "forfeit"},
        {"rule": "forfeit", "members": 3, "cost": 1.3, "target": 3, "repetitions": 3},
        {"rule": "tournament"},
        {"rule": "tournament", "members": 2, "gap": 0.3, "sd": 0.3, "repetitions": 3},
    ],
    "ThirdParty": [
        {"rate": 2.0, "repetitions": 3},
        {"endowment": 10, "observer_endowment": 2, "effect": 0.5, "rate": 1.5},
        {"effect": 0.0},
    ],
    "Trust": [
        {"intermediary": True, "repetitions": 3},
        {"multiplier": 1.0, "trustee_endowment": 0.0, "repetitions": 2},
    ],
    "Ultimatum": [
        {"pie": 7.0, "units": 3, "outside": (2.5, 3.0), "repetitions": 3},
        {"units": 2, "outside": (6.0, 3.0)},
        {"rate": 3.0, "outside": (1.0, 2.0)},
        {"rate": 0.0, "outside": (0.0, 1.0)},
    ],
}
"""Parameters with which registered games are examined besides the default ones."""

SMALL: dict[str, dict[str, Any]] = {
    "Commons": {"months": 4},
    "Donor": {"members": 4, "repetitions": 3},
    "Fishery": {"months": 4},
    "GridCommons": {"foragers": 3, "width": 6, "height": 5, "steps": 6, "timeout": 2},
    "CommonPool": {"users": 4, "repetitions": 3},
    "Naming": {"agents": 6, "repetitions": 5},
    "NormsGame": {"agents": 4, "opportunities": 2},
    "Pricing": {"periods": 6},
    "PublicGoods": {"repetitions": 3},
    "SillyRules": {"foragers": 4, "repetitions": 3},
    "IncompleteContract": {"remedy": "bonus", "discount": 0.3},
    "Relational": {"delta": 0.3, "repetitions": 10},
}
"""Parameters that keep a game short; others are examined as they are by default."""

OFF: dict[str, dict[str, Any]] = {
    "Ambiguity": {"spread": 0.0},
    "Certify": {"accuracy": 0.0},
    "Commit": {"binding": 0.0},
    "Constitution": {"articles": ()},
    "Contract": {"regime": "none"},
    "Exclude": {"rounds": 0},
    "GraduatedSanction": {"detection": 0.0},
    "HiddenType": {"spread": 0.0},
    "Identity": {"weight": 0.0, "rivalry": 0.0},
    "InequityAversion": {"alpha": 0.0, "beta": 0.0},
    "Matching": {"rule": "fixed"},
    "Mediator": {"together": (), "apart": ()},
    "Misspecify": {"strength": 0.0},
    "Monitor": {"probability": 0.0},
    "Noise": {"sd": 0.0},
    "NormUncertainty": {"fine": 0.0},
    "Pigou": {"rate": 0.0},
    "PoolSanction": {"fine": 0.0},
    "PreferenceUncertainty": {"spread": 0.0},
    "Prosocial": {"weight": 0.0},
    "Redistribute": {"share": 0.0},
    "Reputation": {"norm": "none"},
    "RightsAuction": {"rights": 64},
    "Shock": {"probability": 0.0},
    "Subsidy": {"rate": 0.0},
    "Talk": {"rounds": 0},
    "Tax": {"rates": (0.0,), "thresholds": (0.0,)},
    "Unforeseen": {"probability": 0.0},
}
"""What turns a mechanism off: the game under it is then the game, bit for bit."""
