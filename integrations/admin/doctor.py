"""`/api/v1/doctor`: what a controller finds when it looks at the ground it stands on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from integrations.admin.access import demands
from integrations.admin.schemas import FINDINGS
from integrations.grants import Scope

router = APIRouter(prefix="/api/v1/doctor", tags=["doctor"], dependencies=[demands(Scope.DOCTOR_READ)])


@router.get("", response_model=None, responses={200: FINDINGS})
async def examine(request: Request) -> dict[str, Any]:
    """Tell what only the controller sees: of its cluster, check by check. On one machine `xcore doctor` there tells it."""
    findings = await request.app.state.examine()
    return {"findings": [asdict(finding) for finding in findings]}
