from __future__ import annotations

import gzip
import re

import pandas as pd
import pytest

from designkit.alphabet import DNA, PROTEIN, RNA, Alphabet
from designkit.errors import InputError, UsageError
from designkit.io._letters import BY_FLAGS
from designkit.io.sequences import read_sequences, read_table

TOKENS = Alphabet("smiles", ("C", "Cl", "=", "O"), separator=" ")


# ---------------------------------------------------------------- letters


@pytest.mark.parametrize(
    ("alphabet", "sequence", "message"),
    [
        (
            DNA,
            "ACgT",
            "position 3: 'g' is not in the dna alphabet (ACGT); "
            "lower case is not accepted unless asked for: pass --uppercase",
        ),
        (
            DNA,
            "ACU",
            "position 3: 'U' is not in the dna alphabet (ACGT); "
            "T and U are exchanged only when asked: pass --convert-t-u to read it as T",
        ),
        (
            RNA,
            "ATT",
            "position 2: 'T' is not in the rna alphabet (ACGU); "
            "T and U are exchanged only when asked: pass --convert-t-u to read it as U",
        ),
        (
            PROTEIN,
            "MK*",
            "position 3: '*' is not in the protein alphabet (ACDEFGHIKLMNPQRSTVWY); "
            "it is a stop codon; remove it and what follows it",
        ),
        (
            DNA,
            "A-C",
            "position 2: '-' is not in the dna alphabet (ACGT); "
            "it is an alignment gap; remove the gaps",
        ),
        (
            DNA,
            "ACN",
            "position 3: 'N' is not in the dna alphabet (ACGT); "
            "it is a code for several bases; replace it, or pass --on-invalid skip",
        ),
        (
            PROTEIN,
            "MX",
            "position 2: 'X' is not in the protein alphabet (ACDEFGHIKLMNPQRSTVWY); "
            "it stands for any residue; replace it, or pass --on-invalid skip",
        ),
        (
            DNA,
            "AC GT",
            "position 3: ' ' is not in the dna alphabet (ACGT); "
            "remove the spaces inside the sequence",
        ),
        (
            DNA,
            "ACÉ",
            "position 3: 'É' is not in the dna alphabet (ACGT); "
            "correct it, or pass --on-invalid skip to leave such records out",
        ),
        (
            TOKENS,
            "C Br",
            "position 2: 'Br' is not in the smiles alphabet (C Cl = O); "
            "correct it, or pass --on-invalid skip to leave such records out",
        ),
        (DNA, "", "the sequence is empty; remove the record, or pass --on-invalid skip"),
        (DNA, "   ", "the sequence is empty; remove the record, or pass --on-invalid skip"),
    ],
)
def test_bad_sequences_are_named(put, alphabet, sequence, message):
    name = put("in.csv", f'note,id,sequence\n\n"x\ny",a,C\nz,b,{sequence}\n')
    with pytest.raises(InputError) as caught:
        list(read_sequences(name, alphabet=alphabet, ways=BY_FLAGS))
    assert str(caught.value) == f"in.csv: record b (line 5): {message}"
    assert caught.value.exit_code == 3


def test_bad_fasta_record_is_named_by_its_header_line(put):
    name = put("in.fa", "\n>a\nAC\nGT\n>b x=1\nACGT\nACXT\n")
    with pytest.raises(InputError, match=re.escape("in.fa: record b (line 5): position 7: 'X'")):
        read_table(name, alphabet=DNA)


def test_fasta_record_without_sequence(put):
    for text, where in [(">a\n>b\nAC\n", "a (line 1)"), (">a\nAC\n>b\n", "b (line 3)")]:
        with pytest.raises(InputError) as caught:
            read_table(put("in.fa", text), ways=BY_FLAGS)
        assert str(caught.value) == (
            f"in.fa: record {where}: the sequence is empty; remove the record, "
            "or pass --on-invalid skip"
        )


def test_lower_case_and_t_u_on_request(put):
    name = put("in.csv", "sequence\nacgu\nACGT\n")
    frame = read_table(name, alphabet=DNA, uppercase=True, convert_t_u=True)
    assert frame["sequence"].tolist() == ["ACGT", "ACGT"]
    frame = read_table(name, alphabet=RNA, uppercase=True, convert_t_u=True)
    assert frame["sequence"].tolist() == ["ACGU", "ACGU"]
    with pytest.raises(InputError, match=r"position 1: 'a'.*--uppercase"):
        read_table(name, alphabet=RNA, convert_t_u=True, ways=BY_FLAGS)


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("ACgT", "lower case is not accepted: write it in upper case"),
        ("ACU", "T and U are not exchanged: write it as T"),
        ("ACN", "it is a code for several bases; replace it"),
        ("AC?", "correct it"),
        ("", "the sequence is empty; remove the record"),
    ],
)
def test_options_that_a_command_does_not_have_are_not_named(put, sequence, message):
    with pytest.raises(InputError) as caught:
        read_table(put("in.csv", f"id,sequence\na,{sequence}\n"), alphabet=DNA)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(("alphabet", "called"), [(PROTEIN, "protein"), (None, "unknown")])
def test_t_u_is_not_for_proteins(put, alphabet, called):
    with pytest.raises(UsageError) as caught:
        read_table(put("in.csv", "sequence\nMK\n"), alphabet=alphabet, convert_t_u=True)
    assert str(caught.value) == (f"--convert-t-u is for DNA and RNA; the alphabet here is {called}")


def test_skipped_records_are_counted(put):
    name = put("in.csv", "id,sequence\na,AC\nb,AX\nc,\nd,GG\n" + "e,N\n" * 30)
    reader = read_sequences(name, alphabet=DNA, on_invalid="skip")
    assert pd.concat(reader)["id"].tolist() == ["a", "d"]
    assert (reader.rows_read, reader.rows_failed, len(reader.failures)) == (34, 32, 20)
    assert reader.failures[1] == (
        "in.csv: record c (line 4): the sequence is empty; remove the record"
    )
    frame = read_table(name, alphabet=DNA, on_invalid="skip")
    assert frame.attrs["rows_failed"] == 32


def test_nothing_left_after_skipping(put):
    with pytest.raises(InputError) as caught:
        read_table(put("in.csv", "id,sequence\na,AX\n"), alphabet=DNA, on_invalid="skip")
    assert str(caught.value).startswith(
        "in.csv: no usable sequence in it; the first: in.csv: record a (line 2): position 2: 'X'"
    )


def test_json_sequence_must_be_text(put):
    with pytest.raises(InputError) as caught:
        read_table(put("in.jsonl", '{"sequence": 5}\n'))
    assert str(caught.value) == "in.jsonl: record seq_1 (line 1): the sequence is not text but 5"


# ---------------------------------------------------------------- sources that cannot be used


TABLE = b"id,sequence,label\na,ACGT,1\nb,ACGT,2\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.fa", b"", "in.fa: the input is empty"),
        ("in.csv", b"\n \n", "in.csv: the input is empty"),
        ("in.csv.gz", gzip.compress(b"", mtime=0), "in.csv.gz: the input is empty"),
        ("in.csv", b"id,sequence\n", "in.csv: no usable sequence in it"),
        (
            "in.fa",
            b"\nACGT\n",
            "in.fa: line 1: expected a FASTA header starting with '>', found 'ACGT'",
        ),
        (
            "in.csv",
            b"id,Seq,label\n",
            "in.csv: no column 'sequence'; did you mean 'Seq'? columns present: id, Seq, label; "
            "--column chooses another",
        ),
        (
            "in.csv",
            b"x,y\n",
            "in.csv: no column 'sequence'; columns present: x, y; --column chooses another",
        ),
        (
            "in.csv",
            b">a\nACGT\n",
            "in.csv: no column 'sequence'; this looks like FASTA: pass --input-format fasta",
        ),
        (
            "in.jsonl",
            b'{"sequence":"A"}\n{"seq":"A"}\n',
            "in.jsonl: line 2: no key 'sequence'; did you mean 'seq'? keys present: seq; "
            "--column chooses another",
        ),
        ("in.csv", b"sequence,x,x\n", "in.csv: line 1: the column 'x' appears twice"),
        (
            "in.csv",
            TABLE + b"c,ACGT\n",
            "in.csv: line 4: 2 fields, but the header has 3; is a field with ',' in it not quoted, "
            "or the file cut short?",
        ),
        (
            "in.tsv",
            TABLE.replace(b",", b"\t") + b"\nc\tA\tC\tG\n",
            "in.tsv: line 5: 4 fields, but the header has 3; is a field with '\\t' in it not "
            "quoted, or the file cut short?",
        ),
        (
            "in.csv",
            TABLE + b'c,ACGT,"1\nd,ACGT,2\n',
            "in.csv: line 4: not a well-formed row (unexpected end of data); "
            "check the quotes and line ends from here on",
        ),
        (
            "in.csv",
            TABLE.replace(b"\n", b"\r"),
            "in.csv: line 1: not a well-formed row (new-line character seen in unquoted field); "
            "check the quotes and line ends from here on",
        ),
        (
            "in.jsonl",
            b'{"sequence":"A"}\n{"sequence":\n',
            "in.jsonl: line 2: not JSON (Expecting value, column 13)",
        ),
        (
            "in.jsonl",
            b"[1]\n",
            'in.jsonl: line 1: expected one object like {"id": "a", "sequence": "ACGT"}, '
            "found '[1]'",
        ),
        (
            "in.csv.gz",
            TABLE,
            "in.csv.gz: not gzip data, although the name ends in .gz; rename it",
        ),
        (
            "in.csv",
            TABLE + b"c,AC\xff,1\n",
            "in.csv: line 4: byte 0xff does not belong in UTF-8 text; this is binary data, or text "
            "to be converted (iconv -f latin1 -t utf-8)",
        ),
        (
            "in",
            bytes(range(256)),
            "in: line 1: byte 0x00 does not belong in UTF-8 text; this is binary data, or text to "
            "be converted (iconv -f latin1 -t utf-8)",
        ),
        (
            "in.csv",
            b"PK\x03\x04....",
            "in.csv: this is a zip archive or an Excel workbook; "
            "unpack it or save the sheet as CSV",
        ),
        ("in.csv", "id".encode("utf-16"), "in.csv: this is UTF-16 text; save it as UTF-8"),
        (
            "in.txt",
            b"ACGT\nACGT\n",
            "in.txt: cannot tell the format from the first line 'ACGT': expected FASTA ('>id') or "
            "a table with the column 'sequence', this looks like neither; "
            "--input-format says which it is",
        ),
        (
            "in",
            b"@read\nAC\n+\nII\n",
            "in: cannot tell the format from the first line '@read': expected FASTA ('>id') or "
            "a table with the column 'sequence', this looks like FASTQ; convert it to FASTA; "
            "--input-format says which it is",
        ),
    ],
)
def test_unusable_inputs(put, name, content, message):
    with pytest.raises(InputError) as caught:
        read_table(put(name, content))
    assert str(caught.value) == message


@pytest.mark.parametrize("length", [1, 2, 9, 15, -9, -1])
def test_truncated_gzip(put, length):
    with pytest.raises(InputError) as caught:
        read_table(put("in.csv.gz", gzip.compress(TABLE, mtime=0)[:length]))
    message = re.sub(r"line \d", "line N", str(caught.value))
    if length == 1:
        assert message.startswith("in.csv.gz: not gzip data")
    else:
        assert message == (
            "in.csv.gz: the gzip data end too early (line N); "
            "the file is truncated, copy or download it again"
        )


def test_damaged_gzip(put):
    data = bytearray(gzip.compress(TABLE, mtime=0))
    data[14] ^= 0xFF
    with pytest.raises(InputError, match=r"^in.csv.gz: damaged gzip data \("):
        read_table(put("in.csv.gz", bytes(data)))


def test_missing_file_and_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^none.fa: no such file$"):
        read_sequences("none.fa")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"^folder: is a folder, not a file of sequences$"):
        read_sequences("folder")
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        read_sequences("a\0b")


def test_header_is_checked_before_iterating(put):
    with pytest.raises(InputError, match="no column 'sequence'"):
        read_sequences(put("in.csv", "x\n1\n"))
    with pytest.raises(
        InputError, match="no column 'name'; columns present: id, sequence; without"
    ):
        read_sequences(put("in.csv", "id,sequence\na,A\n"), id_column="name")


def test_nothing_on_standard_input(standard_input):
    with pytest.raises(InputError) as caught:
        read_sequences(standard_input(""))
    assert str(caught.value) == (
        "standard input: the input is empty; did the command before the pipe fail?"
    )


def test_impossible_options(put):
    name = put("in.fa", ">a\nA\n")
    with pytest.raises(
        UsageError, match="--input-format fastq: unknown format; choose from fasta,"
    ):
        read_sequences(name, input_format="fastq")
    with pytest.raises(UsageError, match="--on-invalid worst: choose fail or skip when reading"):
        read_sequences(name, on_invalid="worst")
    with pytest.raises(UsageError, match="chunk_rows is 0"):
        read_sequences(name, chunk_rows=0)
