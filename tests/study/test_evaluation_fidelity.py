"""Whole edit jobs against plain references: one request and one token at a time, without caches or batches.

What PROTOCOL.md says is written here a second time, from its text: outputs, metrics, and the samples for
fluency, for both protocols. Only the random numbers are the package's own.
"""

import copy
import math

import numpy as np
import pytest
import sacrebleu
import torch
from nltk.tokenize import NLTKWordTokenizer
from rouge_score.rouge_scorer import RougeScorer
from scipy.stats import entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

import prepared
from clme.files import read_parquet
from clme.randomness import generator
from clme.study import baseline, edit_job
from clme.study.cases import read_cases
from clme.study.schema import EDITS
from clme.study.settings import BaselineSettings, Compute, EditSettings, Selection
from reference import fine_tuned_weight, grace_value

LAYER, MODULE, TOP_K = 3, "mlp.down_proj", 5
RADIUS = 1.2
BEAMS = {"paper": 5, "released": 1}
HYPERPARAMETERS = {
    "none": {},
    "ft_l": {"layer": LAYER, "steps": 4, "learning_rate": 0.02, "norm_constraint": 0.04},
    "grace": {"layer": LAYER, "steps": 8, "radius": RADIUS},
}


@pytest.fixture(scope="module")
def folder(tiny_models):
    return tiny_models["llama"]


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return prepared.write_cases(tmp_path_factory.mktemp("cases") / "cases.parquet", count=2, folds=1)


@pytest.fixture(scope="module", params=["paper", "released"])
def protocol(request):
    return request.param


@pytest.fixture(scope="module")
def rows(folder, path, protocol, tmp_path_factory):
    """The rows of all editors' jobs under a protocol, by editor and case."""
    place = tmp_path_factory.mktemp(protocol)
    shared = {
        "model": "tiny",
        "dataset": "words",
        "seed": 5,
        "protocol": protocol,
        "compute": Compute(device="cpu", batch_cases=2),
        "evaluation": Selection(timed_cases=0),
    }
    baseline.run(folder, path, BaselineSettings(**shared), place / "journals", place / "baseline")
    found = {}
    for editor, hyperparameters in HYPERPARAMETERS.items():
        settings = EditSettings(**shared, editor=editor, hyperparameters=hyperparameters)
        edit_job.run(folder, path, place / "baseline", {}, settings, place / "journals", place / editor)
        frame = read_parquet(place / editor, schema=EDITS)
        found |= {(editor, row["case_id"]): row for row in frame.to_dict("records")}
    return found


class Edited:
    """A model under an edit; says what comes next after token ids, read from the beginning each time.

    Args:
        model: the model, whose weights may have been changed.
        codebook: key, value, radius, and whether decoded tokens are compared too.
    """

    def __init__(self, model, codebook=None):
        self.model, self.codebook = model, codebook

    def logits(self, texts, prompt):
        """The logits after each of some texts of one length, which begin with `prompt` ids of the prompt."""
        hook = None
        if self.codebook is not None:
            key, value, radius, decoding = self.codebook
            places = range(prompt - 1, len(texts[0])) if decoding else [prompt - 1]

            def replaced(_, inputs, output):
                output = output.clone()
                for place in places:
                    fires = (inputs[0][:, place] - key).norm(dim=1) <= radius
                    output[fires, place] = value
                return output

            hook = self.model.model.layers[LAYER].get_submodule(MODULE).register_forward_hook(replaced)
        try:
            with torch.no_grad():
                return self.model(input_ids=torch.tensor(texts)).logits[:, -1]
        finally:
            if hook is not None:
                hook.remove()

    def greedy(self, prompt, count):
        ids = list(prompt)
        while len(ids) < len(prompt) + count:
            ids.append(int(self.logits([ids], len(prompt)).argmax()))
            if ids[-1] == 0:
                break
        return ids[len(prompt) :]

    def sampled(self, prompt, noise, beams):
        """Beams whose continuations are drawn without replacement; the best mean log-probability wins."""
        going, ended = [(0.0, [])], []
        for position, drawn in enumerate(noise):
            found = []
            logs = self.logits([[*prompt, *text] for _, text in going], len(prompt)).log_softmax(1)
            for number, (score, text) in enumerate(going):
                values, tokens = logs[number].topk(TOP_K)
                for place, (log, token) in enumerate(zip(values.tolist(), tokens.tolist(), strict=True)):
                    joint = score + log
                    found.append((joint + drawn[number * TOP_K + place], joint, [*text, token]))
            kept = sorted(found, reverse=True)[: 1 if beams == 1 else 2 * beams]
            kept = sorted(((joint, text) for _, joint, text in kept), key=lambda one: -one[0])
            ended += [(s / len(t), t[:-1]) for s, t in kept[:beams] if t[-1] == 0]
            going = [(s, t) for s, t in kept if t[-1] != 0][:beams]
            if not going or position == len(noise) - 1:
                break
        ended += [(s / len(t), t) for s, t in going]
        return max(ended)[1]


def edited(model, tokenizer, editor, case, protocol):
    """The model after one request, by the references of `reference.py`; the unedited one for `none`."""
    prompt, target = request(tokenizer, case)
    if editor == "none":
        return Edited(model)
    if editor == "ft_l":
        changed = copy.deepcopy(model)
        own = HYPERPARAMETERS["ft_l"]
        fine_tuned_weight(
            changed,
            prompt,
            target,
            layer=LAYER,
            module=MODULE,
            steps=own["steps"],
            learning_rate=own["learning_rate"],
            bound=own["norm_constraint"],
            stop_loss=0.01,
        )
        return Edited(changed.requires_grad_(False))
    start = torch.from_numpy(generator(5, "grace", case.case_id).random(64).astype(np.float32))
    steps = HYPERPARAMETERS["grace"]["steps"]
    value = grace_value(
        model, prompt, target, start, layer=LAYER, module=MODULE, steps=steps, learning_rate=1.0
    )
    return Edited(model, (key_of(model, prompt), value, RADIUS, protocol == "released"))


def key_of(model, prompt):
    inputs = []
    module = model.model.layers[LAYER].get_submodule(MODULE)
    hook = module.register_forward_hook(lambda _, args, __: inputs.append(args[0][0, -1]))
    with torch.no_grad():
        model(input_ids=torch.tensor([prompt]))
    hook.remove()
    return inputs[0]


def request(tokenizer, case):
    prompt = tokenizer(case.prompt).input_ids
    return prompt, tokenizer(f"{case.prompt} {case.target}").input_ids[len(prompt) :]


def bleu(outputs, references, effective):
    """Corpus BLEU by sacrebleu's function, which is smoothed unless told otherwise."""
    found = sacrebleu.corpus_bleu(
        outputs, [references], smooth_method="none", use_effective_order=effective, tokenize="13a"
    )
    return found.score / 100


def compared(outputs, references):
    outputs, references = [o.strip() for o in outputs], [r.strip() for r in references]
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rouge = [scorer.score(r, o)["rougeL"].fmeasure for o, r in zip(outputs, references, strict=True)]
    return {
        "em": [float(o == r) for o, r in zip(outputs, references, strict=True)],
        "bleu": bleu(outputs, references, False),
        "bleu_effective": bleu(outputs, references, True),
        "rougeL": sum(rouge) / len(rouge),
    }


def fluency(text):
    words = NLTKWordTokenizer().tokenize(text)

    def bits(n):
        grams = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
        return entropy(list({gram: grams.count(gram) for gram in grams}.values()), base=2) if grams else 0.0

    return np.mean([2 / 3 * bits(2), 4 / 3 * bits(3)])


@pytest.mark.parametrize("editor", HYPERPARAMETERS)
def test_a_jobs_rows_are_the_references(rows, model, tokenizer, path, protocol, editor):
    for case in read_cases(path):
        row = rows[editor, case.case_id]
        changed, plain = edited(model, tokenizer, editor, case, protocol), Edited(model)
        prompt, target = request(tokenizer, case)
        rephrase = tokenizer(case.rephrase).input_ids
        near = [tokenizer(text).input_ids for text in case.neighbours]

        def decode(ids):
            return tokenizer.decode(ids, skip_special_tokens=True)

        outputs = [decode(changed.greedy(ids, len(target))) for ids in (prompt, rephrase)]
        specificity = [decode(changed.greedy(ids, 16)) for ids in near]
        expected = [decode(plain.greedy(ids, 16)) for ids in near]
        assert [row["effectiveness_output"], row["generalization_output"]] == outputs
        assert list(row["specificity_outputs"]) == specificity
        assert list(row["specificity_expected"]) == expected

        for dimension, one in zip(("effectiveness", "generalization"), outputs, strict=True):
            scores = compared([one], [case.target])
            assert row[f"{dimension}_em"] == scores["em"][0]
            for name in ("bleu", "bleu_effective", "rougeL"):
                assert row[f"{dimension}_{name}"] == pytest.approx(scores[name])
        scores = compared(specificity, expected)
        mean, product = np.mean(scores["em"]), math.prod(scores["em"])
        assert row["specificity_em"] == (mean if protocol == "paper" else product)
        assert (row["specificity_em_mean"], row["specificity_em_all"]) == (mean, product)
        for name in ("bleu", "bleu_effective", "rougeL"):
            assert row[f"specificity_{name}"] == pytest.approx(scores[name])

        texts = []
        for name, ids in (("prompt", prompt), ("rephrase", rephrase)):
            random = generator(5, "fluency", case.case_id, name)
            noise = random.gumbel(size=(64, BEAMS[protocol] * TOP_K)).astype(np.float32)
            texts.append(decode(changed.sampled(ids, noise, BEAMS[protocol])))
        assert list(row["fluency_texts"]) == texts
        assert row["fluency"] == pytest.approx(np.mean([fluency(text) for text in texts]))


def test_the_codebook_fires_on_some_prompts_and_not_on_others(model, tokenizer, path):
    """Otherwise the comparison above would see one of the two only."""
    distances = []
    for case in read_cases(path):
        key = key_of(model, request(tokenizer, case)[0])
        others = [case.rephrase, *case.neighbours]
        distances += [float(torch.dist(key_of(model, tokenizer(text).input_ids), key)) for text in others]
    assert min(distances) < RADIUS < max(distances)
    assert all(abs(distance - RADIUS) > 1e-3 for distance in distances)


def test_the_edits_change_outputs(rows, path):
    for case in read_cases(path):
        before = rows["none", case.case_id]
        for editor in ("ft_l", "grace"):
            assert rows[editor, case.case_id]["effectiveness_output"] != before["effectiveness_output"]
