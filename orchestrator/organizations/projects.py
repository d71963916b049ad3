"""An organization's projects: parts of it with keys, limits and figures of their own."""

from sqlmodel import Session, col, select

from orchestrator import clock, ids
from orchestrator.audit import service as audit
from orchestrator.audit.actions import Action
from orchestrator.audit.service import SYSTEM
from orchestrator.database.pages import Page, PageRequest, fetch
from orchestrator.errors import Conflict, NotFound
from orchestrator.organizations import service as organizations
from orchestrator.organizations.bounds import checked_name, require_room
from orchestrator.organizations.model import Project
from orchestrator.organizations.principal import Principal

PROJECTS_MAX = 1_000  # of one organization, archived ones too


def create(tx: Session, *, organization_id: str, name: str, actor: str = SYSTEM) -> Project:
    """A new project. Raises NotFound, Invalid for a bad name, Conflict beyond PROJECTS_MAX."""
    organization = organizations.get(tx, organization_id)
    require_room(tx, Project, col(Project.organization_id) == organization.id, PROJECTS_MAX)
    project = Project(
        id=ids.new("proj_"),
        organization_id=organization.id,
        name=checked_name(name),
        created_at=clock.now(),
    )
    tx.add(project)
    tx.flush()
    _record(tx, Action.PROJECT_CREATED, project, actor=actor, after={"name": project.name})
    return project


def get(tx: Session, organization_id: str, project_id: str | None) -> Project:
    """One project of an organization; None: the oldest that is not archived, `default` as a rule. Raises
    NotFound."""
    mine = select(Project).where(col(Project.organization_id) == organization_id)
    if project_id is None:
        mine = mine.where(col(Project.archived_at).is_(None))
        found = tx.exec(mine.order_by(col(Project.created_at), col(Project.id)).limit(1)).first()
    else:
        found = tx.exec(mine.where(col(Project.id) == project_id)).first()
    if found is None:
        raise NotFound(f"Organization '{organization_id}' has no project with id '{project_id}'.")
    return found


def list_page(
    tx: Session, page: PageRequest, *, organization_id: str, include_archived: bool = False
) -> Page[Project]:
    """One page of an organization's projects. Raises NotFound."""
    organizations.get(tx, organization_id)
    where = [] if include_archived else [col(Project.archived_at).is_(None)]
    return fetch(tx, Project, page, organization_id=organization_id, where=where)


def rename(tx: Session, project: Project, *, name: str, actor: str) -> Project:
    """Another name. Raises Invalid for a bad one, Conflict for an archived project."""
    require_open(project)
    before, project.name = project.name, checked_name(name)
    if project.name != before:
        after = {"name": project.name}
        _record(tx, Action.PROJECT_UPDATED, project, actor=actor, before={"name": before}, after=after)
    return project


def archive(tx: Session, caller: Principal, *, project_id: str) -> Project:
    """Refuse the project's keys from now on; what runs goes on, and all that it made stays. Again, for one
    that is archived, changes nothing.

    Raises NotFound, and Conflict for the project of the key that asks: so one project is always left.
    """
    organizations.hold(tx, caller.organization_id)  # two keys must not archive each other's
    own = tx.get_one(Project, caller.project_id, populate_existing=True)
    project = get(tx, caller.organization_id, project_id)
    if own.id == project.id or own.archived_at is not None:
        raise Conflict(
            f"Your own key belongs to the project '{own.name}' ({own.id}), which is to be archived or was "
            "just now. Archive it with a key of another project."
        )
    if project.archived_at is None:
        project.archived_at = clock.now()
        _record(tx, Action.PROJECT_ARCHIVED, project, actor=caller.key_id)
    return project


def require_open(project: Project) -> None:
    """Raises Conflict for a project that is archived."""
    if project.archived_at is not None:
        raise Conflict(
            f"The project '{project.name}' ({project.id}) was archived {clock.said(project.archived_at)}; it "
            "changes no more."
        )


def _record(
    tx: Session,
    action: Action,
    project: Project,
    *,
    actor: str,
    before: dict[str, str] | None = None,
    after: dict[str, str] | None = None,
) -> None:
    audit.record(
        tx,
        action,
        organization_id=project.organization_id,
        project_id=project.id,
        actor=actor,
        subject_id=project.id,
        before=before,
        after=after,
    )
