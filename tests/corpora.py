"""Small corpora in the public layouts."""

import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq

FUNCTION = '''def {name}(items, {most}):
    """Return {what} items, up to a limit."""
    found = []
    for item in items:
        found.append(item + {number})
    return found[:{most}]
'''


def parquet(rows, schema=None):
    """Return the bytes of a Parquet file with these rows."""
    return table(pa.Table.from_pylist(rows, schema))


def table(content):
    """Return the bytes of a table's Parquet file."""
    stream = io.BytesIO()
    pq.write_table(content, stream)
    return stream.getvalue()


def conala(rows=12):
    """Return a file of CoNaLa's layout."""
    return parquet(
        [
            {
                "question_id": number,
                "parent_answer_post_id": number,
                "prob": 0.5,
                "snippet": f"values.sort(key=lambda item: item[{number}])",
                "intent": f"sort by column {number}?",
                "rewritten_intent": f"sort a list of values by item {number}",
                "id": f"{number}_{number}_0",
            }
            for number in range(rows)
        ]
    )


def function(number):
    """Return a function's source and its documentation."""
    most = "limit" if number % 2 else "bound"  # two names, so that there is one to rename to
    return (
        FUNCTION.format(name=f"collect_{number}", what=f"the {number}", number=number, most=most),
        f"Return the {number} items, up to a limit.",
    )


def searchnet_rows(numbers, split):
    """Return rows of the hub's layout of CodeSearchNet."""
    return [
        {
            "repository_name": "owner/project",
            "func_name": f"collect_{number}",
            "whole_func_string": function(number)[0],
            "language": "python",
            "func_documentation_string": function(number)[1],
            "split_name": split,
            "func_code_url": f"https://example.org/{number}",
        }
        for number in numbers
    ]


def searchnet_original(numbers, split):
    """Return the same as a compressed file of the original layout."""
    lines = [
        {
            "repo": "owner/project",
            "original_string": function(number)[0],
            "language": "python",
            "code": function(number)[0],
            "docstring": function(number)[1],
            "url": f"https://example.org/{number}",
            "partition": split,
        }
        for number in numbers
    ]
    return gzip.compress("\n".join(map(json.dumps, lines)).encode())


def searchnet_archive(train=8, test=4):
    """Return `python.zip` of the original layout."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        parts = {"train": range(train), "valid": range(train, train + 2), "test": range(50, 50 + test)}
        for split, numbers in parts.items():
            name = f"python/final/jsonl/{split}/python_{split}_0.jsonl.gz"
            archive.writestr(name, searchnet_original(numbers, split))
    return stream.getvalue()


def case(number, task="cnle"):
    """Return a case of the authors' archive."""
    if task == "cnle":
        edit = {
            "intent": f"sort the list by item {number}",
            "snippet": f"values.sort(key={number})",
            "rewritten_intent": f"order the list according to item {number}",
        }
        items = [{"intent": f"reverse list {number} {near}"} for near in range(5)]
    else:
        code, documentation = function(number)
        renamed = code.replace("found", "results")
        edit = {"code": code, "code_doc": documentation, "code_rewrite": renamed}
        items = [{"code": function(100 + near)[0]} for near in range(5)]
    answers = {"CodeLlama-7b-hf": [f"output {near}" for near in range(5)]}
    return {
        "case_id": number,
        "edit_request": edit,
        "neighborhoods": {"items": items, "answers": answers},
    }


def archive(cases=6):
    """Return the files of the authors' archive."""
    return {
        "EditConala.json": json.dumps([case(number) for number in range(cases)]).encode(),
        "EditCodeSearchNet.json": json.dumps([case(number, "csne") for number in range(cases)]).encode(),
    }
