"""The 113 binary datasets of sae-probes (Kantamneni et al. 2025, arXiv:2502.16681).

They are CSV files in the Python package of that name, which is looked for where it is installed and never imported;
a folder that holds the same files works as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from saebench.data.labelled_split import Labelling, Row
from saebench.errors import UserError, nearest

PACKAGE, VERSION = "sae-probes", "0.4.2"
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}"
"""What gets the datasets; their version is the package's."""
TEXT, LABEL = "prompt", "target"
_ENDINGS = (".csv", ".csv.zst", ".csv.gz")
_NAMES = """
5_hist_fig_ismale|6_hist_fig_isamerican|7_hist_fig_ispolitician|21_headline_istrump|22_headline_isobama
23_headline_ischina|24_headline_isiran|26_headline_isfrontpage|36_sciq_tf|41_truthqa_tf|42_temp_sense|44_phys_tf
47_reasoning_tf|48_cm_correct|49_cm_isshort|50_deon_isvalid|51_just_is|52_virtue_is|54_cs_tf
56_wikidatasex_or_gender|57_wikidatais_alive|58_wikidatapolitical_party|59_wikidata_occupation_isjournalist
60_wikidata_occupation_isathlete|61_wikidata_occupation_isactor|62_wikidata_occupation_ispolitician
63_wikidata_occupation_issinger|64_wikidata_occupation_isresearcher|65_high-school|66_living-room
67_social-security|68_credit-card|69_blood-pressure|70_prime-factors|71_social-media|72_gene-expression
73_control-group|74_magnetic-field|75_cell-lines|76_trial-court|77_second-derivative|78_north-america
79_human-rights|80_side-effects|81_public-health|82_federal-government|83_third-party|84_clinical-trials
85_mental-health|87_glue_cola|89_glue_mrpc|90_glue_qnli|91_glue_qqp|92_glue_sst2|94_ai_gen|95_toxic_is|96_spam_is
100_news_fake|105_click_bait|106_hate_hate|107_hate_offensive|110_aimade_humangpt3|113_movie_sent
114_nyc_borough_Manhattan|115_nyc_borough_Brooklyn|116_nyc_borough_Bronx|117_us_state_FL|118_us_state_CA
119_us_state_TX|120_us_timezone_Chicago|121_us_timezone_New_York|122_us_timezone_Los_Angeles
123_world_country_United_Kingdom|124_world_country_United_States|125_world_country_Italy|126_art_type_book
127_art_type_song|128_art_type_movie|129_arith_mc_A|130_temp_cat_Frequency|131_temp_cat_Typical Time
132_temp_cat_Event Ordering|133_context_type_Causality|134_context_type_Belief_states
135_context_type_Event_duration|136_glue_mnli_entailment|137_glue_mnli_neutral|138_glue_mnli_contradiction
139_news_class_Politics|140_news_class_Technology|141_news_class_Entertainment|142_cancer_cat_Thyroid_Cancer
143_cancer_cat_Lung_Cancer|144_cancer_cat_Colon_Cancer|145_disease_class_digestive system diseases
146_disease_class_cardiovascular diseases|147_disease_class_nervous system diseases|148_twt_emotion_worry
149_twt_emotion_happiness|150_twt_emotion_sadness|151_it_tick_HR Support|152_it_tick_Hardware
153_it_tick_Administrative rights|154_athlete_sport_football|155_athlete_sport_basketball
156_athlete_sport_baseball|157_amazon_5star|158_code_C|159_code_Python|160_code_HTML|161_agnews_0|162_agnews_1
163_agnews_2
"""


def task_names() -> tuple[str, ...]:
    """The names of the 113 datasets."""
    return tuple(name for line in _NAMES.strip().splitlines() for name in line.split("|"))


def installed() -> Path | None:
    """The folder of the package's data; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "data"
    return folder if folder.is_dir() else None


def from_sae_probes(names: Sequence[str], folder: Path | None = None) -> list[Labelling]:
    """The labellings of these datasets.

    Raises:
        UserError: The package is not installed, or a file of it is missing or not readable.
    """
    place = folder or installed()
    if place is None:
        raise UserError(f"The sae-probes datasets are not there: run `{INSTALL}` (it needs nothing else of it).")
    files = {_stem(file): file for file in sorted(place.rglob("*.csv*")) if file.name.endswith(_ENDINGS)}
    lacking = [name for name in names if name not in files]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise UserError(f"{str(place)!r} holds no {lacking[0]}.csv{more}: run `{INSTALL}` for the whole collection.")
    return [Labelling(name, _rows(files[name]), pairs=()) for name in names]


def _stem(file: Path) -> str:
    return file.name[: file.name.index(".csv")]


def _rows(file: Path) -> Iterator[Row]:
    import pandas as pd
    import pyarrow as pa

    packing = {".zst": "zstd", ".gz": "gzip"}.get(file.suffix)
    try:
        with pa.input_stream(str(file), compression=packing) as stream:
            frame = pd.read_csv(stream, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{str(file)!r} cannot be read: {' '.join(str(error).split())}.") from error
    for column in (TEXT, LABEL):
        if column not in frame:
            raise UserError(f"{str(file)!r} has no column {column!r}. {nearest(column, frame.columns)}")
    for text, label in zip(frame[TEXT], frame[LABEL], strict=True):
        yield Row(text, label)
