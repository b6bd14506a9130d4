"""The suite as a task of Inspect: played through Inspect's own models, scored and logged by Inspect."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("inspect_ai")

from inspect_ai import eval as evaluate
from inspect_ai.model import ModelAPI, ModelOutput, ModelUsage, get_model, modelapi

from societas.experiments.evaluation.inspect import societas
from societas.experiments.evaluation.suite import load


def mock(say):
    """Return Inspect's own model for tests, that says what a function of the last message and the settings returns."""

    def output(messages, tools, choice, config):
        found = ModelOutput.from_content("mockllm", say(messages, config))
        found.usage = ModelUsage(
            input_tokens=7, output_tokens=3, total_tokens=10
        )  # else it counts them with a download
        return found

    return get_model("mockllm/model", custom_outputs=output, memoize=False)


def run(tmp_path, model, **options):
    (log,) = evaluate(societas(**options), model=model, log_dir=str(tmp_path), display="none")
    return log


def numbers(log):
    return {score.name: {name: metric.value for name, metric in score.metrics.items()} for score in log.results.scores}


def cooperate(messages, config):
    text = messages[-1].text
    return json.dumps({"sent": 10} if '"sent"' in text else {"back": 0.5})


def test_a_model_plays_both_seats_and_is_scored(tmp_path):
    log = run(tmp_path, mock(cooperate), worlds=2, scenarios="trust", kinds="society")
    assert log.status == "success"
    found = numbers(log)
    plain = [
        s for s in log.samples if s.metadata["case"]["uncertainty"] == "none" and s.metadata["case"]["regime"] == "none"
    ]
    assert [s.scores["alignment"].value for s in plain] == [1.0, 1.0]
    assert plain[0].scores["alignment"].metadata["own"] == 20.0  # 30 are shared equally, 10 were there
    assert {"mean", "stderr", "contracting"} == set(found["alignment"])
    assert len(log.samples) == 2 * 5 and len({s.id for s in log.samples}) == 10


def test_the_log_holds_rules_questions_and_answers_once(tmp_path):
    log = run(tmp_path, mock(cooperate), worlds=1, scenarios="trust", kinds="society")
    sample = next(s for s in log.samples if s.id == "trust--society--0")
    assert [m.role for m in sample.messages] == ["system", "user", "assistant"] * 2
    assert "You are the investor" in sample.messages[0].text and "You are the trustee" in sample.messages[3].text
    assert "welfare: 20" in sample.output.completion
    assert log.stats.model_usage["mockllm/model"].total_tokens == 10 * sum(
        e.event == "model" for s in log.samples for e in s.events
    )


def test_bad_answers_are_asked_again_and_counted(tmp_path):
    def say(messages, config):
        asked_again = "was not accepted" in messages[-1].text
        return cooperate(messages[:2], config) if asked_again else "As you like."

    log = run(tmp_path, mock(say), worlds=1, scenarios="trust", kinds="stranger")
    found = numbers(log)
    assert [found[name]["mean"] for name in ("good", "repaired", "again", "defaulted")] == [0.0, 0.0, 1.0, 0.0]
    mute = numbers(run(tmp_path, mock(lambda messages, config: "no"), worlds=1, scenarios="trust", kinds="stranger"))
    assert mute["defaulted"] == {"mean": 1.0, "stderr": 0.0}


def test_questions_carry_temperature_a_seed_and_a_schema_where_it_is_wanted(tmp_path):
    heard = []

    def say(messages, config):
        heard.append(config)
        return cooperate(messages, config)

    run(tmp_path, mock(say), worlds=1, scenarios="trust", kinds="society", temperature=0.5, structured=True)
    assert all(config.temperature == 0.5 and 0 <= config.seed < 2**31 for config in heard)
    schemas = [config.response_schema.json_schema for config in heard]
    assert any("sent" in schema.properties and schema.properties["sent"].maximum == 10 for schema in schemas)


def test_a_provider_that_fails_is_an_error_and_no_null_act(tmp_path):
    def say(messages, config):
        raise ConnectionError("gone")

    log = run(tmp_path, mock(say), worlds=1, scenarios="trust", kinds="society")
    assert log.status == "error" and "gone" in log.error.message


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="scenarios"):
        societas(scenarios="chess")
    with pytest.raises(ValueError, match="kinds"):
        societas(kinds="probe")
    assert societas().version == load().version


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_plays(tmp_path):
    pytest.importorskip("llguidance")
    from societas.policies.llm.constrained import Constrained
    from societas.policies.llm.protocol import Message

    smollm2 = Constrained("smollm2")

    @modelapi(name="societas_local")
    class Local(ModelAPI):
        async def generate(self, input, tools, tool_choice, config):
            asked = [Message(message.role, message.text) for message in input]
            schema = config.response_schema.json_schema.model_dump(exclude_none=True)
            (answer,) = smollm2.answer([asked], [schema], temperature=config.temperature, luck=[config.seed / 2**31])
            found = ModelOutput.from_content("smollm2", answer.text)
            read, written = answer.tokens_read, answer.tokens_written
            found.usage = ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
            return found

    task = societas(worlds=1, scenarios="ultimatum", kinds="society", structured=True)
    model = get_model("societas_local/smollm2")
    (log,) = evaluate(task, model=model, log_dir=str(tmp_path), display="none", limit=1)
    assert log.status == "success", log.error
    assert numbers(log)["good"]["mean"] == 1.0
    assert log.samples[0].scores["alignment"].value in (0.0, 1.0)  # there is a deal, or there is none
    assert log.stats.model_usage["societas_local/smollm2"].input_tokens > 100
