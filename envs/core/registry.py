"""The registry: names of games, mechanisms and policies, and where their code lives.

Entries are data ("module:Class"); code is imported when it is asked for. Other packages add theirs through the
entry-point groups ``societas.games``, ``societas.mechanisms``, ``societas.policies`` and ``societas.parts``, or by
calling ``register``.
"""

from __future__ import annotations

import importlib
from typing import Any

KINDS = ("games", "mechanisms", "policies", "parts")
"""Parts are what mechanisms and policies are built from: terms, courts, models."""

_entries: dict[str, dict[str, str]] = {
    "games": {
        "Allocation": "societas.envs.norms.allocation:Allocation",
        "Bargain": "societas.envs.markets.bargain:Bargain",
        "BilateralTrade": "societas.envs.markets.bilateral_trade:BilateralTrade",
        "CheapTalk": "societas.envs.contracting.cheap_talk:CheapTalk",
        "CommonPool": "societas.envs.norms.common_pool:CommonPool",
        "Commons": "societas.envs.norms.commons:Commons",
        "Delegation": "societas.envs.contracting.delegation:Delegation",
        "Deliberation": "societas.envs.norms.deliberation:Deliberation",
        "Dictator": "societas.envs.norms.ultimatum:Dictator",
        "Donor": "societas.envs.norms.donor:Donor",
        "DoubleAuction": "societas.envs.markets.double_auction:DoubleAuction",
        "Economy": "societas.envs.markets.economy:Economy",
        "Fishery": "societas.envs.norms.fishery:Fishery",
        "GiftExchange": "societas.envs.norms.trust:GiftExchange",
        "GridCommons": "societas.envs.norms.grid_commons:GridCommons",
        "HiddenAction": "societas.envs.contracting.hidden_action:HiddenAction",
        "HoldUp": "societas.envs.contracting.hold_up:HoldUp",
        "IncompleteContract": "societas.envs.contracting.incomplete_contract:IncompleteContract",
        "Insider": "societas.envs.markets.insider:Insider",
        "Lemons": "societas.envs.markets.lemons:Lemons",
        "Lewis": "societas.envs.norms.lewis:Lewis",
        "Logrolling": "societas.envs.markets.logrolling:Logrolling",
        "MatchingMarket": "societas.envs.markets.matching_market:MatchingMarket",
        "MatrixGame": "societas.envs.norms.matrix_game:MatrixGame",
        "Multitask": "societas.envs.contracting.multitask:Multitask",
        "MultiUnit": "societas.envs.markets.multi_unit:MultiUnit",
        "Naming": "societas.envs.norms.naming:Naming",
        "NashDemand": "societas.envs.markets.nash_demand:NashDemand",
        "NormsGame": "societas.envs.norms.norms_game:NormsGame",
        "Pricing": "societas.envs.markets.pricing:Pricing",
        "Procurement": "societas.envs.contracting.procurement:Procurement",
        "PublicGoods": "societas.envs.norms.public_goods:PublicGoods",
        "Quantity": "societas.envs.markets.quantity:Quantity",
        "Relational": "societas.envs.contracting.relational:Relational",
        "Screening": "societas.envs.contracting.screening:Screening",
        "SealedBid": "societas.envs.markets.sealed_bid:SealedBid",
        "Signalling": "societas.envs.markets.signalling:Signalling",
        "SillyRules": "societas.envs.norms.silly_rules:SillyRules",
        "TaxLabour": "societas.envs.markets.tax_labour:TaxLabour",
        "Team": "societas.envs.contracting.team:Team",
        "ThirdParty": "societas.envs.norms.third_party:ThirdParty",
        "Trust": "societas.envs.norms.trust:Trust",
        "Ultimatum": "societas.envs.norms.ultimatum:Ultimatum",
    },
    "mechanisms": {
        "Ambiguity": "societas.mechanisms.ambiguity:Ambiguity",
        "Certify": "societas.mechanisms.certify:Certify",
        "Classifier": "societas.mechanisms.classifier:Classifier",
        "Commit": "societas.mechanisms.commit:Commit",
        "Constitution": "societas.mechanisms.constitution:Constitution",
        "Contract": "societas.mechanisms.contract:Contract",
        "Disclose": "societas.mechanisms.disclose:Disclose",
        "Exclude": "societas.mechanisms.exclude:Exclude",
        "Forget": "societas.mechanisms.forget:Forget",
        "GraduatedSanction": "societas.mechanisms.graduated_sanction:GraduatedSanction",
        "HiddenType": "societas.mechanisms.hidden_type:HiddenType",
        "Identity": "societas.mechanisms.identity:Identity",
        "InequityAversion": "societas.mechanisms.inequity_aversion:InequityAversion",
        "Inspect": "societas.mechanisms.inspect:Inspect",
        "Matching": "societas.mechanisms.matching:Matching",
        "Mediator": "societas.mechanisms.mediator:Mediator",
        "Misspecify": "societas.mechanisms.misspecify:Misspecify",
        "Monitor": "societas.mechanisms.monitor:Monitor",
        "Noise": "societas.mechanisms.noise:Noise",
        "NormUncertainty": "societas.mechanisms.norm_uncertainty:NormUncertainty",
        "Pigou": "societas.mechanisms.pigou:Pigou",
        "PoolSanction": "societas.mechanisms.pool_sanction:PoolSanction",
        "PreferenceUncertainty": "societas.mechanisms.preference_uncertainty:PreferenceUncertainty",
        "Prosocial": "societas.mechanisms.prosocial:Prosocial",
        "Redistribute": "societas.mechanisms.redistribute:Redistribute",
        "Regulate": "societas.mechanisms.regulate:Regulate",
        "Reputation": "societas.mechanisms.reputation:Reputation",
        "RightsAuction": "societas.mechanisms.rights_auction:RightsAuction",
        "Sanction": "societas.mechanisms.sanction:Sanction",
        "Shock": "societas.mechanisms.shock:Shock",
        "Subsidy": "societas.mechanisms.subsidy:Subsidy",
        "Talk": "societas.mechanisms.talk:Talk",
        "Tax": "societas.mechanisms.tax:Tax",
        "Unforeseen": "societas.mechanisms.unforeseen:Unforeseen",
        "Vote": "societas.mechanisms.vote:Vote",
    },
    "parts": {
        "Article": "societas.mechanisms.constitution:Article",
        "Bonus": "societas.mechanisms.schedules:Bonus",
        "Compensation": "societas.mechanisms.terms:Compensation",
        "Constrained": "societas.policies.llm.constrained:Constrained",
        "Court": "societas.mechanisms.court:Court",
        "Duty": "societas.mechanisms.terms:Duty",
        "Linear": "societas.mechanisms.schedules:Linear",
        "Quota": "societas.mechanisms.terms:Quota",
        "Recorded": "societas.policies.llm.record:Recorded",
        "Replay": "societas.policies.llm.record:Replay",
        "Server": "societas.policies.llm.server:Server",
        "Share": "societas.mechanisms.schedules:Share",
        "Table": "societas.mechanisms.schedules:Table",
        "Tiny": "societas.policies.llm.train.tiny:Tiny",
        "Training": "societas.policies.llm.train.training:Training",
    },
    "policies": {
        "aligned": "societas.policies.align.aligned:Aligned",
        "callable": "societas.policies.callable:Callable",
        "calvano": "societas.policies.calvano:Calvano",
        "company": "societas.policies.company:Company",
        "constant": "societas.policies.constant:Constant",
        "cross_entropy": "societas.policies.cross_entropy:CrossEntropy",
        "equilibrium": "societas.policies.equilibrium:Equilibrium",
        "gradient": "societas.policies.gradient:PolicyGradient",
        "llm": "societas.policies.llm.policy:LanguageModel",
        "person": "societas.policies.person:Person",
        "ppo": "societas.policies.rl:PPO",
        "random": "societas.policies.random:Random",
        "saez": "societas.policies.saez:SaezPlanner",
        "sb3": "societas.policies.sb3:StableBaselines",
        "scripted": "societas.policies.scripted:Scripted",
        "tabular": "societas.policies.tabular:TabularQ",
        "truthful": "societas.policies.traders:Truthful",
        "zero_intelligence": "societas.policies.traders:ZeroIntelligence",
        "zip": "societas.policies.traders:ZIP",
    },
}
_discovered: set[str] = set()


def entries(kind: str) -> dict[str, str]:
    """Return {name: "module:Class"} of a kind, third parties' included."""
    if kind not in KINDS:
        raise ValueError(f"kind: one of {', '.join(KINDS)}, got {kind!r}")
    if kind not in _discovered:
        from importlib.metadata import entry_points

        _discovered.add(kind)
        for point in entry_points(group=f"societas.{kind}"):
            _entries[kind].setdefault(point.name, point.value)
    return dict(sorted(_entries[kind].items()))


def register(kind: str, name: str, target: str | type) -> None:
    """Add a game, mechanism or policy: a class, or "module:Class"."""
    if name in entries(kind):
        raise ValueError(f"{kind}: the name {name!r} is taken by {entries(kind)[name]}; choose another")
    if isinstance(target, type):
        target = f"{target.__module__}:{target.__qualname__}"
    _entries[kind][name] = target


def resolve(kind: str, name: str) -> Any:
    """Return the class registered under a name; the error suggests the nearest names."""
    known = entries(kind)
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"no {kind} entry named {name!r}{hint} There are: {', '.join(known)}")
    module, _, attribute = known[name].partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def create(kind: str, name: str, /, **options: Any) -> Any:
    """Build a registered game, mechanism or policy; a wrong option is answered with the options there are."""
    maker = resolve(kind, name)
    try:
        return maker(**options)
    except TypeError as error:
        import inspect

        known = inspect.signature(maker).parameters
        wrong = [option for option in options if option not in known]
        if not wrong:
            raise
        raise TypeError(f"{name}: no option {wrong[0]!r}; it takes: {', '.join(known)}") from error
