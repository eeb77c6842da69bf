"""Why a model's reply or its patch was not taken; the text is written for the model, which gets another attempt.

MorningAIError
└── Permanent
    ├── EditRefused       an edit does not fit the files
    └── PatchRefused      the patch does what no patch may do
"""

from __future__ import annotations

from morningai.errors import Permanent


class EditRefused(Permanent):
    reason = "EDIT_REFUSED"


class PatchRefused(Permanent):
    reason = "PATCH_REFUSED"
