"""Every table, imported: whoever creates, migrates or maps the whole schema imports this module."""

from sqlmodel import SQLModel

import orchestrator.adapters.model
import orchestrator.audit.model
import orchestrator.batches.model
import orchestrator.database.tables
import orchestrator.engines.model
import orchestrator.files.model
import orchestrator.fine_tuning.model
import orchestrator.jobs.model
import orchestrator.limits.model
import orchestrator.metering.model
import orchestrator.organizations.model
import orchestrator.spending.model
import orchestrator.uploads.model
import orchestrator.webhooks.model  # noqa: F401

metadata = SQLModel.metadata
