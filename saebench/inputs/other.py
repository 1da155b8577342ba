"""A SAE's codes on text that is not scored: what a metric may choose by, so that its score is held out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from saebench.inputs.memo import Memo

if TYPE_CHECKING:
    from saebench.inputs.token_labels import TokenLabels
    from saebench.saes import Codes


class OtherCodes(Memo):
    """Codes of the tokens of other text, about 20,000 of them whatever the size of the scored text.

    Attributes:
        codes: Sparse codes, `[tokens, d_sae]`; of a coder that is not sparse, of fewer tokens.
        labels: What is true of those tokens, where a metric of the pass asks for `TokenLabels`.
    """

    kind: ClassVar[str] = "stream"
    data: ClassVar[str] = ""

    def __init__(self, codes: Codes, labels: TokenLabels | None = None) -> None:
        super().__init__()
        self.codes = codes
        self.labels = labels
