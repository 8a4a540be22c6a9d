"""The publications that reports rest on, and which of them a report uses."""

from collections.abc import Sequence

from transfusion_core.reporting.study import Study
from transfusion_core.specs.report import Reference, ReportSection

_PUBLISHED: dict[str, tuple[str, dict[str, str]]] = {
    "raghu2019transfusion": (
        "inproceedings",
        {
            "author": "Raghu, Maithra and Zhang, Chiyuan and Kleinberg, Jon and Bengio, Samy",
            "title": "Transfusion: Understanding Transfer Learning for Medical Imaging",
            "booktitle": "Advances in Neural Information Processing Systems",
            "volume": "32",
            "year": "2019",
        },
    ),
    "raghu2017svcca": (
        "inproceedings",
        {
            "author": "Raghu, Maithra and Gilmer, Justin and Yosinski, Jason and Sohl-Dickstein, Jascha",
            "title": "SVCCA: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and "
            "Interpretability",
            "booktitle": "Advances in Neural Information Processing Systems",
            "volume": "30",
            "year": "2017",
        },
    ),
    "morcos2018insights": (
        "inproceedings",
        {
            "author": "Morcos, Ari S. and Raghu, Maithra and Bengio, Samy",
            "title": "Insights on Representational Similarity in Neural Networks with Canonical Correlation",
            "booktitle": "Advances in Neural Information Processing Systems",
            "volume": "31",
            "year": "2018",
        },
    ),
    "kornblith2019similarity": (
        "inproceedings",
        {
            "author": "Kornblith, Simon and Norouzi, Mohammad and Lee, Honglak and Hinton, Geoffrey",
            "title": "Similarity of Neural Network Representations Revisited",
            "booktitle": "Proceedings of the 36th International Conference on Machine Learning",
            "volume": "97",
            "year": "2019",
        },
    ),
    "hotelling1936relations": (
        "article",
        {
            "author": "Hotelling, Harold",
            "title": "Relations Between Two Sets of Variates",
            "journal": "Biometrika",
            "volume": "28",
            "number": "3/4",
            "pages": "321--377",
            "year": "1936",
        },
    ),
    "ding2021grounding": (
        "inproceedings",
        {
            "author": "Ding, Frances and Denain, Jean-Stanislas and Steinhardt, Jacob",
            "title": "Grounding Representation Similarity Through Statistical Testing",
            "booktitle": "Advances in Neural Information Processing Systems",
            "volume": "34",
            "year": "2021",
        },
    ),
    "schuirmann1987comparison": (
        "article",
        {
            "author": "Schuirmann, Donald J.",
            "title": "A Comparison of the Two One-Sided Tests Procedure and the Power Approach for Assessing the "
            "Equivalence of Average Bioavailability",
            "journal": "Journal of Pharmacokinetics and Biopharmaceutics",
            "volume": "15",
            "number": "6",
            "pages": "657--680",
            "year": "1987",
        },
    ),
    "delong1988comparing": (
        "article",
        {
            "author": "DeLong, Elizabeth R. and DeLong, David M. and Clarke-Pearson, Daniel L.",
            "title": "Comparing the Areas Under Two or More Correlated Receiver Operating Characteristic Curves: A "
            "Nonparametric Approach",
            "journal": "Biometrics",
            "volume": "44",
            "number": "3",
            "pages": "837--845",
            "year": "1988",
        },
    ),
    "holm1979simple": (
        "article",
        {
            "author": "Holm, Sture",
            "title": "A Simple Sequentially Rejective Multiple Test Procedure",
            "journal": "Scandinavian Journal of Statistics",
            "volume": "6",
            "number": "2",
            "pages": "65--70",
            "year": "1979",
        },
    ),
    "mantel1966evaluation": (
        "article",
        {
            "author": "Mantel, Nathan",
            "title": "Evaluation of Survival Data and Two New Rank Order Statistics Arising in Its Consideration",
            "journal": "Cancer Chemotherapy Reports",
            "volume": "50",
            "number": "3",
            "pages": "163--170",
            "year": "1966",
        },
    ),
    "neyshabur2020what": (
        "inproceedings",
        {
            "author": "Neyshabur, Behnam and Sedghi, Hanie and Zhang, Chiyuan",
            "title": "What Is Being Transferred in Transfer Learning?",
            "booktitle": "Advances in Neural Information Processing Systems",
            "volume": "33",
            "year": "2020",
        },
    ),
    "zhang2022layers": (
        "article",
        {
            "author": "Zhang, Chiyuan and Bengio, Samy and Singer, Yoram",
            "title": "Are All Layers Created Equal?",
            "journal": "Journal of Machine Learning Research",
            "volume": "23",
            "number": "67",
            "pages": "1--28",
            "year": "2022",
        },
    ),
    "alain2016understanding": (
        "article",
        {
            "author": "Alain, Guillaume and Bengio, Yoshua",
            "title": "Understanding Intermediate Layers Using Linear Classifier Probes",
            "journal": "arXiv preprint",
            "volume": "1610.01644",
            "year": "2016",
        },
    ),
    "frankle2020linear": (
        "inproceedings",
        {
            "author": "Frankle, Jonathan and Dziugaite, Gintare Karolina and Roy, Daniel M. and Carbin, Michael",
            "title": "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
            "booktitle": "Proceedings of the 37th International Conference on Machine Learning",
            "volume": "119",
            "year": "2020",
        },
    ),
}

PAPER = "raghu2019transfusion"
OF_MEASURES = {
    "cca": "hotelling1936relations",
    "svcca": "raghu2017svcca",
    "pwcca": "morcos2018insights",
    "cka": "kornblith2019similarity",
    "cka_debiased": "kornblith2019similarity",
    "procrustes": "ding2021grounding",
    "regression": "kornblith2019similarity",
    "reinit": "zhang2022layers",
    "linear_probe": "alain2016understanding",
    "loss_barrier": "frankle2020linear",
    "block_shuffle": "neyshabur2020what",
}
TRIED = ("reinit", "linear_probe", "loss_barrier", "block_shuffle")
"""Measures of the sections `dataset` and `robustness`."""
OF_TESTS = {
    "tost": "schuirmann1987comparison",
    "delong": "delong1988comparing",
    "log-rank": "mantel1966evaluation",
    "holm": "holm1979simple",
}
"""By the word that a section's text or a row's `test` has for it."""


def used(study: Study, sections: Sequence[ReportSection]) -> list[Reference]:
    """The paper first, then what the measures and tests of these sections were published in, each once."""
    rows = [row for section in sections for row in section.table]
    measured = {row.measure for row in rows}
    said = " ".join([*(section.text for section in sections), *{row.test or "" for row in rows}]).lower()
    keys = [PAPER]
    keys += [OF_MEASURES[name] for name in (*study.spec.similarity.measures, *TRIED) if name in measured]
    keys += [key for name, key in OF_TESTS.items() if name in said]
    return [reference(key) for key in dict.fromkeys(keys)]


def reference(key: str) -> Reference:
    """One publication by its BibTeX key."""
    kind, words = _PUBLISHED[key]
    lines = "".join(f"  {name} = {{{_braced(name, word)}}},\n" for name, word in words.items())
    return Reference(key=key, text=_printed(words), bibtex=f"@{kind}{{{key},\n{lines}}}\n")


def _braced(name: str, word: str) -> str:
    """Titles in braces keep their capitals in every style."""
    return f"{{{word}}}" if name == "title" else word


def _printed(words: dict[str, str]) -> str:
    authors = words["author"].replace(" and ", "; ")
    place = words.get("journal") or words["booktitle"]
    number = f"({words['number']})" if "number" in words else ""
    pages = f": {words['pages'].replace('--', '–')}" if "pages" in words else ""
    return f"{authors} ({words['year']}). {words['title']}. {place} {words['volume']}{number}{pages}."
