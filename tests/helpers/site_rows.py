"""Rows for a site: a realistic frame with nulls and baselines, a second hook with two widths, and hostile names."""

from __future__ import annotations

import pandas as pd

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "../../etc/passwd", "CON", "a,b \u202edoc")
FIRST, SECOND = "blocks.2.hook_resid_post", "blocks.7.hook_resid_post"
BOARD = {
    "title": "A <b>board</b>",
    "columns": ["l0", "loss_recovered", "ce_delta"],
    "pareto": [{"y": "loss_recovered"}],
}


def site_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of one hook made into one that shows all that a site can."""
    rows = frame.copy().reset_index(drop=True)
    rows["null_sae"], rows["baseline_sae"] = "null:random-32", "baseline:pca-96"
    for column, sae in (("null", "null:random-32"), ("baseline", "baseline:pca-96")):
        values = rows[rows["sae"] == sae].set_index("metric")["value"]
        rows[column] = rows["metric"].map(values)
    second = rows[rows["architecture"].isin(["topk", "gated"]) & (rows["role"] == "sae")].copy()
    second["hook_in"] = second["hook_out"] = SECOND
    second["d_sae"] = [384 if "l0_25" in sae else 768 for sae in second["sae"]]
    bad = rows[rows["sae"] == "topk-l0_25"]
    hostile = [bad.assign(sae=name, reason="", warnings=f"beware of {name}") for name in HOSTILE]
    one = bad[bad["metric"] == "loss_recovered"].assign(metric="density_histogram", unit="share of latents")
    sliced = [
        one.assign(slice=f"log10=-{i}", value=share, stderr=0.01, ci_low=share - 0.02, ci_high=share + 0.02)
        for i, share in ((1, 0.1), (2, 0.5), (3, 0.3), (10, 0.1))
    ]
    return pd.concat([rows, second, *hostile, *sliced], ignore_index=True)
