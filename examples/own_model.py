"""A language model of your own at the table, in three ways. Give a folder or hub id to use yours: own_model.py MODEL."""

import sys
import tempfile

import numpy as np

from societas import Episodes, make, play, policy


def tiny_model(folder):
    """Write a randomly initialised Llama and a tokenizer of single characters, as any transformers model is written."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    set_seed(0)
    letters = ["<unk>", "<end>", "\n", *map(chr, range(32, 127))]
    core = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<end>").save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(letters), bos_token_id=1, eos_token_id=1, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)


class Brief:
    """Anything with this method is a model: here, the shorter an option is written, the likelier."""

    def score(self, chats, options):
        """Return, for each chat (system, user, answer so far), the log-probability of each of its options."""
        return [np.array([-float(len(option)) for option in some]) for some in options]


def answer(seen):
    """Decide from plain values: call any service here, or game.prompt and game.parse for text in and text out."""
    return {"harvest": seen["stock"] // 10}


def society(model) -> Episodes:
    """Play three months of the fishery: seats without an entry of their own are played by the transformers model."""
    players = {
        "fisher": policy("llm", model=model, levels=11),  # a folder or a hub id
        "fisher_1": policy("llm", model=Brief(), temperature=0.0),  # an object with a method score
        "fisher_2": policy("callable", function=answer),  # a function
    }
    return play(make("Fishery", fishers=3, months=3), players, seed=1, keep=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if not sys.argv[1:]:
            tiny_model(scratch)
        print(society(sys.argv[1] if sys.argv[1:] else scratch).tell())
