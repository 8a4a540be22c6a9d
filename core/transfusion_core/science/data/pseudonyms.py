"""What is stored in the place of patients: keyed hashes, in the names of their files too."""

import re
import secrets
from dataclasses import dataclass, field, replace

from transfusion_core.science.data.samples import Listing, Sample
from transfusion_core.specs.manifest import pseudonym

SALT_BYTES = 32
_SHORT = 12
"""Digits of a hash in a name: whoever has the whole one finds it by them."""


@dataclass(frozen=True)
class Pseudonyms:
    """One salt for a version and all that extend it; random, as nothing that is public may lead back to the ids."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(SALT_BYTES))

    def of(self, patient: str) -> str:
        """What stands for a patient."""
        return pseudonym(self.salt, patient)

    def named(self, listing: Listing) -> Listing:
        """The listing with what is stored in the place of its files' names."""
        return replace(listing, samples=[self._named(sample) for sample in listing.samples])

    def _named(self, sample: Sample) -> Sample:
        if sample.patient is None:
            return sample
        return replace(sample, name=self.within(sample.file, sample.patient))

    def within(self, name: str, patient: str) -> str:
        """A file's name without the patient's id, wherever that stands in it as a word; leading zeros do not matter."""
        bare = patient.lstrip("0") if patient.isdecimal() else patient
        word = re.compile(rf"(?<![^\W_])0*{re.escape(bare or '0')}(?![^\W_])")
        return word.sub(self.of(patient)[:_SHORT], name)
