"""What others hold us to, written out: nothing appears, vanishes or changes its name without a line changing here."""

import doctest
import inspect
import subprocess
import sys
from importlib import import_module

import pytest
from typer.main import get_command

import textsiam
from textsiam.interfaces.cli import app

# Each public class with its public attributes; each public function or table with none.
NAMES = {
    "Audit": "agreements certify consensus design finish join label labels n_labelled open pairs save status training_pairs "
    "unlabelled",
    "Calibrator": "encoder evidence from_json probabilities scores similarity to_json",
    "Clusters": "cluster columns groups ids keeper n_dropped score_to_keeper texts weakest",
    "Encoder": "backend_name count_lost embed encode fingerprint is_cut load name precision prompt_text release tokens",
    "Evaluation": "baseline differences measured_on metrics model notes report save slices suspects to_json worst",
    "Explanation": "decision differences differing fault first html largest partners probability reason score second to_json "
    "verdict words_first words_second",
    "Index": "add approximate close clusters columns compact counts create dim export matches_of merges model open rebuild "
    "remove search settings threshold update verify",
    "LOSSES": "",
    "Matches": "added blocks by_score clusters columns cut decision id_columns left left_ids left_texts log_odds matching "
    "n_left n_right probability reason recall right right_cut right_ids right_texts right_unknown score set_aside take "
    "text_columns top unknown verified",
    "Pairs": "first labels mapping rows scores second set_aside take unique usable",
    "ScoredPairs": "components encoder held labels pairs reason rule scores similarity take told",
    "SetAside": "columns counts faults refuse rows",
    "Siamese": "calibrate calibrated calibrator certify compare decide decision_fingerprint encode encoder explain held judge "
    "judged judgement load probability push_to_hub read reject_threshold rescorer save scale score score_fingerprint "
    "score_rows similarity threshold training training_texts vetoes with_judge with_thresholds with_vetoes",
    "Split": "calibration report test train",
    "Texts": "ids mapping n_read renamed rows set_aside texts",
    "Threshold": "encoder evidence from_json guarantee similarity to_json value",
    "Triplets": "anchors columns mapping negatives positives rows set_aside take unique",
    "admit": "",
    "certify_decisions": "",
    "cluster": "",
    "counterfactuals": "",
    "encode_to_parquet": "",
    "evaluate": "",
    "find_duplicates": "",
    "find_repeats": "",
    "fit_judge": "",
    "folds": "",
    "mine_negatives": "",
    "read_pairs": "",
    "read_texts": "",
    "read_triplets": "",
    "score_pairs": "",
    "split": "",
    "start_audit": "",
    "threshold_join": "",
    "top_k_join": "",
    "train": "",
}

# What README and CHANGELOG name beside the package itself.
MODULES = {
    "textsiam.errors": "BadRows BrokenIndex BrokenModel EncoderMismatch IndexLocked IndexNotFound MissingExtra ModelNotFound "
    "NotCalibrated TaskFailed TextsiamError TooManyMatches UnreadableInput UnsupportedModel",
    "textsiam.interfaces.estimators": "PairClassifier PairKFold PairScorer SentenceEncoder",
    "textsiam.samples": "PAIRS QUESTIONS",
    "textsiam.training.trainer": "TwinTrainer",
}

TABLES = {
    ("textsiam.data.formats", "FORMATS"): "arrow csv feather jsonl ndjson parquet tsv txt",
    ("textsiam.data.writers", "WRITERS"): ".csv .jsonl .parquet",
    ("textsiam.encoding.openvino.architectures", "ARCHITECTURES"): "bert distilbert mpnet roberta xlm-roberta",
    ("textsiam.encoding.backends", "BACKENDS"): "openvino pytorch",
    ("textsiam.encoding.pytorch.twin", "POOLINGS"): "cls max mean",
    (
        "textsiam.evaluation.metrics",
        "METRICS",
    ): "average_precision best_f1 pearson precision_at_recall roc_auc spearman",
    ("textsiam.indexing.search.searching", "SEARCHERS"): "approximate auto exact",
    ("textsiam.matching.matches", "LINKAGES"): "complete keeper",
    ("textsiam.matching.join.exact", "SEARCHERS"): "exact",
    ("textsiam.scoring.judging.vetoes", "VETOES"): "dates negation numbers opposites roles units",
    ("textsiam.training.judges.own_judge", "FAMILY"): "adapted auto linear network tuned",
    ("textsiam.scoring.explaining.features", "FEATURES"): "characters entities length negation numbers overlap",
    ("textsiam.scoring.similarity", "SIMILARITIES"): "cosine dot euclidean manhattan",
    (
        "textsiam.training.losses",
        "LOSSES",
    ): "contrastive cosent cosine_regression distillation logistic "
    "multiple_negatives_ranking online_contrastive triplet",
}

COMMANDS = {
    "audit": "finish label plan start status",
    "calibrate": "",
    "certify": "",
    "counterfactuals": "",
    "duplicates": "",
    "encode": "",
    "evaluate": "",
    "explain": "",
    "index": "add clusters compact create export info rebuild remove search update verify",
    "judge": "fit",
    "score": "",
    "serve": "",
    "split": "",
    "train": "",
}

ROUTES = {
    "GET /": "the page",
    "GET /health": "",
    "GET /metrics": "",
    "GET /openapi.json": "",
    "GET /ready": "",
    "GET /v1/index": "",
    "GET /v1/models": "",
    "POST /v1/audit": "",
    "POST /v1/audit/finish": "",
    "POST /v1/duplicates": "",
    "POST /v1/duplicates/file": "asked by the page alone",
    "POST /v1/embeddings": "",
    "POST /v1/index/add": "",
    "POST /v1/index/remove": "",
    "POST /v1/index/search": "",
    "POST /v1/pairs": "",
    "POST /v1/similarity": "",
}

NO_EXAMPLE = {
    "textsiam.LOSSES": "a table, whose members have one each",
    "textsiam.samples.PAIRS": "a path",
    "textsiam.samples.QUESTIONS": "a path",
}


def attributes(kind):
    """Public attributes of a class that are of our making, those that only its annotations name included."""
    ours = [one for one in kind.__mro__ if one.__module__.partition(".")[0] == "textsiam"]
    names = {name for one in ours for name in [*vars(one), *inspect.get_annotations(one)]}
    return sorted(name for name in names if not name.startswith("_"))


def public():
    """Every public name with its thing; errors, which show in the examples of what raises them, left out."""
    for name in NAMES:
        yield f"textsiam.{name}", getattr(textsiam, name)
    for module, names in MODULES.items():
        if module != "textsiam.errors":
            yield from ((f"{module}.{name}", getattr(import_module(module), name)) for name in names.split())
    for name, loss in textsiam.LOSSES.items():
        yield f"textsiam.LOSSES[{name}]", loss


def test_the_package_promises_these_names():
    """`__all__` is this list, each name is found in its station, and nothing else is."""
    assert sorted(textsiam.__all__) == sorted(textsiam._MODULES) == sorted(NAMES)
    for name in NAMES:
        thing = getattr(textsiam, name)
        assert isinstance(thing, dict) or thing.__name__ == name
    assert set(textsiam.__all__) <= set(dir(textsiam))
    with pytest.raises(AttributeError, match="has no name 'magic'"):
        textsiam.magic  # noqa: B018


@pytest.mark.parametrize("name", [name for name, attributes in NAMES.items() if attributes])
def test_a_class_has_these_attributes(name):
    """Methods, properties and fields, each with a docstring of its own or of its class."""
    kind = getattr(textsiam, name)
    assert attributes(kind) == NAMES[name].split()
    for attribute in NAMES[name].split():
        member = inspect.getattr_static(kind, attribute, None)
        member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        assert not inspect.isfunction(member) or member.__doc__, attribute


@pytest.mark.parametrize("module", MODULES)
def test_a_public_module_has_these_names(module):
    """They can be fetched; where a module says what it exports, it says this."""
    there = import_module(module)
    names = MODULES[module].split()
    assert all(hasattr(there, name) for name in names)
    if hasattr(there, "__all__"):
        assert sorted(there.__all__) == names
    if module == "textsiam.errors":
        assert sorted(name for name, kind in vars(there).items() if inspect.getmodule(kind) is there) == names


@pytest.mark.parametrize(("module", "table"), TABLES, ids=lambda name: name.rpartition(".")[2])
def test_a_table_has_these_members(module, table):
    """The names that callers give."""
    assert sorted(getattr(import_module(module), table)) == TABLES[module, table].split()


def test_the_command_line_has_these_commands():
    """And those of `audit` and `index`."""
    told = get_command(app).commands
    assert {name: " ".join(sorted(getattr(one, "commands", ()))) for name, one in told.items()} == COMMANDS


def test_the_service_has_these_routes(model):
    """Those of the schema, and those that are left out of it for a reason."""
    from textsiam.interfaces.service.app import create_app

    routes = create_app(model).app.routes
    told = {f"{method} {one.path}": one.include_in_schema for one in routes for method in one.methods - {"HEAD"}}
    assert set(told) == set(ROUTES)
    hidden = {name for name, is_told in told.items() if not is_told}
    assert hidden == {name for name, reason in ROUTES.items() if reason} | {"GET /openapi.json"}


def test_every_public_name_promises_and_shows():
    """Each has a docstring with an example that runs as a doctest; exempt is what stands in a list, with its reason."""
    finder = doctest.DocTestFinder(recurse=False)
    shown = {
        name
        for name, thing in public()
        if getattr(thing, "__doc__", None) and any(t.examples for t in finder.find(thing, name))
    }
    assert {name for name, _ in public()} - shown == set(NO_EXAMPLE)


@pytest.mark.parametrize("module", ["textsiam", "textsiam.errors", "textsiam.samples"])
def test_names_are_fetched_lazily(module):
    """Importing the package, its errors or its samples loads no station, and nothing but the standard library."""
    code = f"import {module}, sys; print(*(m for m in sys.modules if m.startswith('textsiam.') or m in ('numpy', 'torch')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"textsiam.errors", "textsiam.samples"}
