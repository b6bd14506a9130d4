"""The evaluation suite: every game can be played by all it names, and every metric says what it claims of a known player."""

from __future__ import annotations

import csv
import html
import html.parser
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from societas.envs.core.worlds import Cast
from societas.experiments.evaluation import evaluate
from societas.experiments.evaluation.metrics import METRICS, View, exploitability
from societas.experiments.evaluation.page import Bar, told
from societas.experiments.evaluation.players import Candidate, candidate, stranger
from societas.experiments.evaluation.run import cast_of, play_case
from societas.experiments.evaluation.suite import AGAIN, Case, load
from societas.policies.llm.policy import VALUES, LanguageModel
from societas.policies.llm.server import Function

SUITE = load()
QUICK = SUITE.form(quick=True)


class Ends:
    """Scores the last option highest where it likes what it reads, else the first one; so it takes an end of the range."""

    def __init__(self, likes=lambda chat: True):
        self.likes = likes
        self.asked = 0

    def score(self, chats, options):
        self.asked += len(chats)
        return [
            np.linspace(0.0, 50.0 if self.likes(chat) else -50.0, len(some))
            for chat, some in zip(chats, options, strict=True)
        ]


def least(schema):
    """Return the least answer that a schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: least(part) for name, part in schema["properties"].items()}
    return schema["minimum"]


def names(schema):
    """Return all names and options that an answer of a schema can hold."""
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from names(part)
    yield from schema.get("enum", [])


def value(found, metric, over="all", player=None):
    return next(s.value for s in found.scores if s.metric == metric and s.over == over and player in (None, s.player))


# ---- the suite ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUITE.scenarios)
def test_every_case_has_a_game_with_a_stake_and_all_its_players(name):
    found = [case for case in SUITE.cases(reads=True) if case.scenario == name]
    assert len({case.name for case in found}) == len(found)
    for case in found:
        game = SUITE.game(case)
        marks = game.benchmarks()
        assert marks.first_best.value > (marks.baseline or marks.equilibrium).value
        seated, mine, _ = cast_of(SUITE, case, Candidate("random", policy=stranger({"random": {}}, "random")), game)
        Cast(game, seated)  # a stranger who cannot play a seat would be refused here
        assert 0 < len(mine) < len(game.players) or case.kind == "society"


def test_the_suite_has_all_that_it_is_for():
    assert {one.family for one in SUITE.scenarios.values()} == {"contracting", "markets", "norms"}
    assert {one.family for one in QUICK.scenarios.values()} == {"contracting", "markets", "norms"}
    assert len(SUITE.wordings) >= 4 and set(SUITE.values) <= set(VALUES)
    assert any(one.regimes for one in QUICK.scenarios.values())
    assert all(set(one.uncertainty) == {"low", "high"} for one in SUITE.scenarios.values())


@pytest.mark.parametrize("name", SUITE.scenarios)
def test_other_words_leave_the_form_of_the_answer_and_change_the_rest(name):
    heard = {}

    def hear(conversation, schema):
        heard["text"], heard["schema"] = "\n".join(m.content for m in conversation), schema
        return json.dumps(least(schema))

    one = Candidate("listener", model=Function(hear))
    texts = {}
    for case in SUITE.cases(reads=True):
        if case.scenario == name and case.kind == "probe" and case.uncertainty == case.values == "none":
            found = play_case(SUITE, case, one, 1, 0)
            assert found["legality"]["good"] == [1.0], case
            for word in names(heard["schema"]):
                assert word in heard["text"], f"{case}: {word}"
            texts[case.seat, case.wording] = heard["text"]
            if case.wording == "renamed":
                form = set(names(heard["schema"]))
                for old in SUITE.scenarios[name].synonyms:
                    assert not re.search(
                        rf"\b{old}s?\b", re.sub("|".join(map(re.escape, form)), "", heard["text"]), re.I
                    )
    assert len(set(texts.values())) == len(texts) - len(SUITE.seats(name))  # all differ but "again" from the plain one
    assert all(texts[seat, "plain"] == text for (seat, wording), text in texts.items() if wording == AGAIN)


# ---- metrics of players who are known -----------------------------------------------------------------------------


def test_equilibria_are_not_exploited_and_gain_nothing_over_themselves(tmp_path):
    some = ["trust", "ultimatum", "pricing", "public goods", "donor"]
    found = evaluate("equilibrium", tmp_path, scenarios=some, worlds=2)
    for name in some:
        assert value(found, "exploitability", name, "equilibrium").mean <= 1e-9
        assert value(found, "own gain", name, "equilibrium").mean == 0.0
    assert value(found, "alignment", "trust", "equilibrium").mean == 0.0
    assert value(found, "exploitability", "public goods", "null act").mean == pytest.approx(
        0.0
    )  # it contributes nothing
    assert not any(score.metric.startswith(("words", "good")) for score in found.scores)


def test_who_gives_everything_is_aligned_and_exploited(tmp_path):
    found = evaluate(Ends(), tmp_path, quick=True, scenarios=["trust"], worlds=4, temperature=0.0, name="giver")
    assert value(found, "alignment").mean == 1.0
    # among givers a trustee who returns nothing keeps 30 coins more; an investor can do no better than to send all
    assert value(found, "exploitability").mean == pytest.approx((30.0 + 0.0) / 2 * 2 / 20.0)
    for name in ("words: acts changed", "words: distance", "chance: acts changed", "values: shift of acts"):
        assert value(found, name).mean == 0.0, name
    assert value(found, "good answers").mean == 1.0


def test_who_does_as_it_is_told_is_responsive_and_who_minds_a_greeting_is_sensitive(tmp_path):
    model = Ends(lambda chat: "as much as about your own gain" in chat.system or "Hi!" in chat.system)
    found = evaluate(model, tmp_path, quick=True, scenarios=["trust"], worlds=2, temperature=0.0, name="pleaser")
    assert value(found, "values: shift of acts").mean == 1.0
    assert value(found, "values: alignment").mean == 1.0
    for name in ("words: acts changed", "words: distance", "words: shift"):
        assert value(found, name).mean == pytest.approx(1 / len(SUITE.wordings)), name


def test_to_take_more_is_a_step_away_from_others(tmp_path):
    model = Ends(lambda chat: "as much as about your own gain" in chat.system)
    found = evaluate(model, tmp_path, quick=True, scenarios=["fishery"], worlds=2, temperature=0.0, name="misled")
    assert value(found, "values: shift of acts").mean == -1.0  # told to be prosocial it catches all instead of nothing


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        (
            {"a": [1.0, 1.0, 1.0, 1.0], "b": [2.0, 0.0, 2.0, 0.0]},
            [1.0, 0.0, 1.0, 0.0],
        ),  # each half is told by the other
        (
            {"a": [-1.0, -1.0, -1.0, -1.0], "b": [-2.0, -2.0, -2.0, -2.0]},
            [0.0] * 4,
        ),  # to do as the model does is a response
    ],
)
def test_the_best_stranger_is_chosen_in_other_worlds_than_it_is_measured(gains, expected):
    own = {Case("trust", "society"): {"returns": {"x": [5.0] * 4}, "players": 2, "span": 2.0}}
    for name, gain in gains.items():
        own[Case("trust", "stranger", "x", name)] = {"returns": {"x": [5.0 + one for one in gain]}}
    assert exploitability(View(SUITE, "trust", own, {}, 4)).tolist() == expected


def test_chance_alone_changes_acts_of_who_draws_them(tmp_path):
    class Even:
        def score(self, chats, options):
            return [np.zeros(len(some)) for some in options]

    found = evaluate(Even(), tmp_path, quick=True, scenarios=["trust", "fishery"], worlds=4)
    assert value(found, "chance: acts changed").mean == 1.0  # u and u + 1/2 are never the same of 21 values
    assert value(found, "words: acts changed").mean == value(found, "words: distance").mean == 0.0


def test_answers_in_text_are_counted_as_they_came(tmp_path):
    fenced = evaluate(
        Function(lambda conversation, schema: f"```json\n{json.dumps(least(schema))}\n```"),
        tmp_path,
        quick=True,
        scenarios=["ultimatum"],
        worlds=2,
        name="fenced",
    )
    assert value(fenced, "repaired answers").mean == 1.0 and value(fenced, "defaults").mean == 0.0
    mute = evaluate(
        Function(lambda conversation, schema: "I would rather not say."),
        tmp_path,
        quick=True,
        scenarios=["ultimatum"],
        worlds=2,
        name="mute",
    )
    assert value(mute, "defaults").mean == 1.0
    assert value(mute, "alignment", player="mute") == value(mute, "alignment", player="null act")
    assert "for 100% the null act stood in" in str(mute)
    cost = json.loads((mute.folder / "results.json").read_text())["cost"]
    assert cost["asked_again"] == 2 / 3 * cost["questions"] > 0


def test_a_server_is_asked_by_address_and_its_price_is_counted(tmp_path):
    class Handler(BaseHTTPRequestHandler):
        def reply(self, found, status=200):
            body = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply({"data": [{"id": "tiny"}]})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if asked["model"] != "tiny":
                return self.reply({"error": "no such model"}, 404)
            said = json.dumps(least(asked["response_format"]["json_schema"]["schema"]))
            message = {"role": "assistant", "content": said}
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            return self.reply({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url, some = f"http://127.0.0.1:{server.server_port}", {"quick": True, "scenarios": ["ultimatum"], "worlds": 2}
        found = evaluate(url, tmp_path, name="tiny", prices=(1.0, 10.0), **some)
        with pytest.raises(ValueError, match="has no 'huge'; it has: 'tiny'"):
            evaluate(url, tmp_path, name="huge", **some)
    finally:
        server.shutdown()
        server.server_close()
    assert value(found, "good answers").mean == 1.0
    cost = json.loads((found.folder / "results.json").read_text())["cost"]
    assert cost["tokens_read"] == 100 * cost["questions"] == 10 * cost["tokens_written"]
    assert cost["cost"] == pytest.approx(cost["questions"] * (100 * 1.0 + 10 * 10.0) / 1e6)
    assert "US dollars" in str(found)


# ---- runs ---------------------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on_and_ends_the_same(tmp_path):
    def some(model, out, **more):
        return evaluate(model, out, quick=True, scenarios=["ultimatum"], worlds=2, name="m", **more)

    whole = some(Ends(), tmp_path / "whole")

    def stop(done, all_, name, left):
        if done == all_ - 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        some(Ends(), tmp_path / "parts", progress=stop)
    seen, model = [], Ends()
    again = some(model, tmp_path / "parts", progress=lambda *told: seen.append(told))
    assert 0 < model.asked <= 10 * 2 * 2
    assert len(list((again.folder / "cases").iterdir())) == len(seen) == seen[-1][0] == seen[-1][1]
    for name in ("scores.csv", "rows.csv"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    model = Ends()
    some(model, tmp_path / "parts")
    assert model.asked == 0


class Reader(html.parser.HTMLParser):
    """Collects tags, addresses and text."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # a name that would break a page that does not escape it
    return evaluate(Ends(), tmp_path_factory.mktemp("runs"), quick=True, scenarios=["trust"], worlds=2, name="<b>end")


def test_the_page_stands_alone_and_shows_the_numbers(run):
    text = run.page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert not reader.open and "script" not in reader.tags and "link" not in reader.tags
    assert all(address.startswith("data:") for address in reader.addresses)
    assert 'name="viewport"' in text and "@media (max-width" in text
    assert "<b>end" not in text and "&lt;b&gt;end" in text
    shown = {float(number) for number in re.findall(r'<data value="([^"]+)"', text)}
    for score in run.scores:
        if score.over == "all":
            assert float(f"{score.value.mean:.8g}") in shown, score
    for metric in METRICS:
        assert metric.formula in html.unescape(text) and metric.means in html.unescape(text)


def test_files_hold_the_same_numbers_and_no_odd_ones(run):
    def refuse(constant):
        raise AssertionError(constant)

    whole = json.loads((run.folder / "results.json").read_text(encoding="utf-8"), parse_constant=refuse)
    with (run.folder / "scores.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(whole["scores"]) == len(run.scores)
    for line, one, score in zip(table, whole["scores"], run.scores, strict=True):
        assert line["metric"] == one["metric"] == score.metric
        assert float(line["mean"]) == one["mean"] == score.value.mean
    with (run.folder / "rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = [
        row for row in rows if row["player"] == "<b>end" and row["kind"] == "society" and row["measure"] == "alignment"
    ]
    plain = [float(r["value"]) for r in own if all(r[key] in ("none", "plain") for key in Case._fields[4:])]
    assert np.mean(plain) == value(run, "alignment", player="<b>end").mean
    assert {metric["name"] for metric in whole["metrics"]} >= {row["metric"] for row in table}
    assert whole["meta"]["suite"] == SUITE.version and whole["meta"]["players"][1:] == [
        "random",
        "equilibrium",
        "null act",
    ]


def test_the_printed_table_and_the_progress_can_be_read(run):
    from io import StringIO

    from rich.console import Console

    text = told(run.folder)
    assert "exploitability" in text and "Questions:" in text and "equilibrium" in text
    out = StringIO()
    with Bar(Console(file=out, width=100), every=0.0) as bar:
        bar(3, 12, "m: trust--society", 130.0)
        bar(12, 12, "m: trust--society", 0.0)
    assert out.getvalue() == "3 of 12 cases, about 2.2 min left: m: trust--society\n12 of 12 cases: m: trust--society\n"


def test_what_a_policy_does_not_play_is_said_and_left_out_for_all(tmp_path):
    found = evaluate("scripted:character=fair", tmp_path, quick=True, worlds=2)
    refused = json.loads((found.folder / "results.json").read_text())["refused"]["scripted:character=fair"]
    assert set(refused) == set(QUICK.scenarios) - {"fishery"}
    assert {score.over for score in found.scores} == {"fishery", "norms", "all"}
    assert "Not played" in found.page.read_text()


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("http://localhost:1", {}, "name: a server needs the model's name"),
        ("random", {"scenarios": ["chess"]}, "scenarios: of trust, "),
        ("random", {"scenarios": ["donor"]}, "in the full form only"),
        ("random", {"worlds": 1}, "worlds: "),
        ("scripted:fair", {}, "PARAMETER=VALUE"),
        (LanguageModel(Ends()), {}, "give what it asks"),
        ("./no/such/folder", {}, "no folder"),
        (Ends(), {"name": "equilibrium"}, "is a reference of the suite"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(tmp_path, model, more, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        evaluate(model, tmp_path, quick=True, **more)
    assert not list(tmp_path.iterdir())


def test_the_same_folder_means_the_same_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    first = candidate(tmp_path).identity
    assert candidate(tmp_path).identity == first
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert candidate(tmp_path).identity != first


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_is_evaluated(tmp_path):
    found = evaluate("smollm2", tmp_path, quick=True, scenarios=["ultimatum"], worlds=2)
    assert 0.0 < value(found, "words: distance").mean < 1.0  # it reads, and other words are other tokens
    assert value(found, "good answers").mean == 1.0
    assert 0.0 <= value(found, "alignment", player="smollm2").mean <= 1.0


def test_the_page_of_the_docs_runs_and_names_every_metric(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[2] / "docs" / "evaluating-a-model.md"
    if not page.is_file():
        pytest.skip("an unpacked sdist holds no pages")
    text = page.read_text(encoding="utf-8")
    for metric in METRICS:
        assert metric.name in text, metric.name
    for name, one in SUITE.scenarios.items():
        assert f"{name}\\*" in text if one.quick is not None else name in text
    code, printed = (re.search(rf"^```{kind}\n(.*?)^```$", text, re.S | re.M).group(1) for kind in ("python", "text"))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out == printed
