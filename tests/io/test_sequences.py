from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest

from designkit.alphabet import DNA, PROTEIN, Alphabet
from designkit.io.sequences import read_sequences, read_table

TOKENS = Alphabet("smiles", ("C", "Cl", "=", "O"), separator=" ")


def rows(frame: pd.DataFrame) -> list[dict]:
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


# ---------------------------------------------------------------- formats

AB = [{"id": "a", "sequence": "ACGT", "gc": "0.50"}, {"id": "b", "sequence": "GG", "gc": None}]
WRITTEN = {
    "fasta": ">a gc=0.50\nAC\nGT\n\n>b\nGG\n",
    "csv": "gc,id,sequence\n0.50,a,ACGT\n\n,b,GG\n",
    "tsv": "gc\tid\tsequence\n0.50\ta\tACGT\n\tb\tGG\n",
    "jsonl": '{"id":"a","gc":"0.50","sequence":"ACGT"}\n\n{"sequence":"GG","id":"b"}\n',
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_formats_by_suffix(put, kind, line_end, mark):
    name = put(f"in.{kind}", mark + WRITTEN[kind].replace("\n", line_end))
    assert rows(read_table(name, alphabet=DNA)) == [
        {"id": "a", "sequence": "ACGT", "gc": 0.5},
        {"id": "b", "sequence": "GG", "gc": None},
    ]
    (chunk,) = read_sequences(name, alphabet=DNA)
    assert list(chunk.columns[:2]) == ["id", "sequence"]
    assert rows(chunk) == AB


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_formats_are_recognised_on_standard_input(standard_input, kind, compress):
    source = standard_input(compress(WRITTEN[kind].encode()))
    with read_sequences(source) as reader:
        assert reader.input_format == kind
        assert rows(pd.concat(reader)) == AB


@pytest.mark.parametrize("name", ["in.fa.gz", "in.txt", "in"])
def test_gzip_in_several_members(put, name):
    data = gzip.compress(b">a\nAC") + gzip.compress(b"GT\n>b\nGG\n") + b"\0" * 7
    frame = read_table(put(name, data), alphabet=DNA)
    assert frame["sequence"].tolist() == ["ACGT", "GG"]


def test_format_can_be_forced(put):
    assert len(read_table(put("in.csv", ">a\nAC\n"), input_format="fasta")) == 1


def test_one_column_table_is_recognised(standard_input):
    assert read_table(standard_input("sequence\nACGT\n"))["id"].tolist() == ["seq_1"]


def test_last_line_may_lack_its_end(put):
    assert read_table(put("a.fa", ">a\nAC\n>b\nGG"))["sequence"].tolist() == ["AC", "GG"]
    assert read_table(put("a.csv", "sequence\nAC\nGG"))["sequence"].tolist() == ["AC", "GG"]


# ---------------------------------------------------------------- what passes through


def test_streamed_columns_are_as_written(put):
    name = put("in.csv", 'sequence,code,x,note\nAC,007,1.23456789,"a, ""b""\nc"\nGG,NA,1e3,\n')
    (chunk,) = read_sequences(name)
    assert rows(chunk.drop(columns=["id", "sequence"])) == [
        {"code": "007", "x": "1.23456789", "note": 'a, "b"\nc'},
        {"code": "NA", "x": "1e3", "note": None},
    ]


def test_labels_have_types_in_tables(put):
    name = put(
        "in.csv",
        "sequence,whole,real,gaps,flag,text,blank\nAC,1,0.5,3,True,5'UTR,\nGG,2,-1e3,NA,False,7,\n",
    )
    frame = read_table(name)
    assert frame["whole"].dtype == "int64"
    assert frame["real"].tolist() == [0.5, -1000.0]
    assert frame["gaps"].dtype == "float64"
    assert frame["gaps"].isna().tolist() == [False, True]
    assert frame["flag"].dtype == bool
    assert frame["flag"].tolist() == [True, False]
    assert frame["text"].tolist() == ["5'UTR", "7"]
    assert frame["blank"].isna().all()


def test_json_values_keep_their_types(put):
    name = put("in.jsonl", '{"sequence":"AC","n":1,"l":[1,2]}\n{"sequence":"GG","n":1,"l":null}\n')
    (chunk,) = read_sequences(name)
    assert chunk["n"].tolist() == [1, 1]
    assert chunk["l"].tolist() == [[1, 2], None]
    assert read_table(name)["n"].dtype == "int64"


@pytest.mark.parametrize("identifier", ["007", "1e5", "NA", "nan", "None", "True"])
def test_identifiers_stay_text(put, identifier):
    frame = read_table(put("in.csv", f"id,sequence\n{identifier},AC\n"))
    assert frame["id"].tolist() == [identifier]


@pytest.mark.parametrize("peptide", ["NA", "NAN", "INF"])
def test_peptides_that_look_like_missing_values(put, peptide):
    name = put("in.csv", f"id,sequence\na,{peptide}\n")
    assert read_table(name, alphabet=PROTEIN)["sequence"][0] == peptide


def test_missing_identifiers_are_places(put):
    frame = read_table(put("in.csv", "id,sequence\n,AC\nx,AC\n,AC\n"))
    assert frame["id"].tolist() == ["seq_1", "x", "seq_3"]
    assert read_table(put("in.fa", ">\nAC\n>b\nAC\n"))["id"].tolist() == ["seq_1", "b"]


def test_repeated_identifiers_are_kept(put):
    assert read_table(put("in.fa", ">a\nAC\n>a\nGG\n"))["id"].tolist() == ["a", "a"]


def test_other_columns_can_be_chosen(put):
    name = put("in.csv", "sequence,aa,id,name\nACGT,MK,1,x\n")
    assert rows(read_table(name, column="aa", id_column="name")) == [
        {"id": "x", "sequence": "MK", "sequence.original": "ACGT", "id.original": 1}
    ]


def test_nameless_column_of_row_numbers(put):
    frame = read_table(put("in.csv", ",sequence\n0,AC\n1,GG\n"))
    assert frame["Unnamed: 0"].tolist() == [0, 1]


def test_foreign_fasta_header_is_a_description(put):
    name = put("in.fa", ">sp|P1|X_Y  Some protein OS=Homo sapiens 90%20\nMK\n> b x=1 x=2\nMK\n")
    assert rows(read_table(name)) == [
        {"id": "sp|P1|X_Y", "sequence": "MK", "description": "Some protein OS=Homo sapiens 90%20"},
        {"id": "b", "sequence": "MK", "description": "x=1 x=2"},
    ]


def test_percent_encoded_fasta_values(put):
    frame = read_table(put("in.fa", ">a%20b note=two%20words%25 a%3Db=1=2 p=90%\nAC\n"))
    assert rows(frame) == [
        {"id": "a b", "sequence": "AC", "note": "two words%", "a=b": "1=2", "p": "90%"}
    ]


def test_token_sequences(put):
    assert (
        read_table(put("in.fa", ">a\nC  Cl\n= O\n"), alphabet=TOKENS)["sequence"][0] == "C Cl = O"
    )
    assert (
        read_table(put("in.csv", "sequence\nC Cl =\n"), alphabet=TOKENS)["sequence"][0] == "C Cl ="
    )


def test_long_sequences_are_read(put):
    assert len(read_table(put("in.csv", "sequence\n" + "A" * 300_000))["sequence"][0]) == 300_000


# ---------------------------------------------------------------- chunks and streams


def test_chunks(put):
    name = put("in.fa", "".join(f">s{i}\nACGT\n" for i in range(10)))
    reader = read_sequences(name, chunk_rows=4)
    assert [len(chunk) for chunk in reader] == [4, 4, 2]
    assert (reader.rows_read, reader.rows_failed) == (10, 0)


def test_a_column_once_seen_stays(put):
    name = put("in.fa", ">a x=1\nAC\n>b\nAC\n>c y=2\nAC\n")
    chunks = list(read_sequences(name, chunk_rows=1))
    assert [list(chunk.columns[2:]) for chunk in chunks] == [["x"], ["x"], ["x", "y"]]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_hash_is_of_the_stored_bytes(put, compress):
    data = compress(b">a\nAC\n" * 1000)
    frame = read_table(put("in.fa", data))
    assert frame.attrs["sha256"] == hashlib.sha256(data).hexdigest()


def test_rows_leave_a_pipe_that_pauses():
    script = textwrap.dedent(
        """
        from designkit.io.sequences import read_sequences
        for chunk in read_sequences("-"):
            print(len(chunk), chunk["id"].iloc[-1], flush=True)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("id,sequence\na,ACGT\nb,ACGT\n")
        process.stdin.flush()
        assert process.stdout.readline() == "2 b\n"  # would wait for ever if chunks were full
        process.stdin.write("c,ACGT\n")
        process.stdin.close()
        assert process.stdout.readline() == "1 c\n"
        assert process.wait(timeout=30) == 0
