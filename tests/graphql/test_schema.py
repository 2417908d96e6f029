"""The three ways to a schema, and the clashes that are refused."""

import pytest
import strawberry
from pydantic import BaseModel
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from gqlplugin.app import define_app
from gqlplugin.errors import DefinitionError
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.schema import create_schema
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.testing import MemoryPlatform
from tests.graphql.shop import define_shop, noop, place_order, who_am_i

pytestmark = pytest.mark.anyio

PLACE = 'mutation { placeOrder(orderId: "1") { runId } }'


@strawberry.type(description="Everything one can ask.")
class Query:
    @strawberry.field
    def version(self) -> int:
        return 3


@strawberry.type
class Mutation:
    place_order = place_order.field()


async def test_the_apps_fields_join_the_users_own() -> None:
    """create_schema adds resolvers and runs to types of the user's, which keep their names and descriptions."""

    @strawberry.type
    class OwnMutation:
        @strawberry.mutation
        def forget(self) -> bool:
            return True

    async with MemoryPlatform() as platform:
        schema = create_schema(define_shop(), query=Query, mutation=OwnMutation, platform=platform)
        assert (await schema.execute("{ version whoAmI }")).errors is None
        assert (await schema.execute("mutation { forget noop }")).data == {"forget": True, "noop": True}
        assert (await schema.execute(PLACE)).errors is None
    sdl = str(schema)
    assert '"""Everything one can ask."""\ntype Query {\n  version: Int!' in sdl
    assert "type OwnMutation {" in sdl
    assert "workflowRuns(" in sdl


async def test_a_resolver_is_a_field_of_the_users_own_type() -> None:
    """A plain strawberry.Schema with the extension needs nothing else."""
    async with MemoryPlatform() as platform:
        schema = strawberry.Schema(Query, Mutation, extensions=[lambda: WorkflowExtension(define_shop(), platform)])
        result = await schema.execute(PLACE)
    assert result.errors is None


async def test_a_resolver_is_merged_with_other_types() -> None:
    """merge_types takes a type with resolvers as any other."""

    @strawberry.type
    class Other:
        noop = noop.field()

    both = merge_types("AllMutations", (Mutation, Other))
    async with MemoryPlatform() as platform:
        schema = strawberry.Schema(Query, both, extensions=[lambda: WorkflowExtension(define_shop(), platform)])
        assert (await schema.execute("mutation { noop }")).data == {"noop": True}
        assert (await schema.execute(PLACE)).errors is None


async def test_an_app_with_mutations_only_gets_a_query() -> None:
    """GraphQL demands one: the app's name, which is there only if nothing else is."""
    schema = create_schema(define_app("bare", resolvers=[noop]))
    assert (await schema.execute("{ appName }")).data == {"appName": "bare"}
    assert "The name of the app." in str(schema)
    assert "appName" not in str(create_schema(define_app("bare", resolvers=[noop, who_am_i])))
    assert "appName" not in str(create_schema(define_app("bare", resolvers=[noop]), query=Query))


def test_two_fields_with_one_name_are_refused() -> None:
    """The error names both, where Strawberry would take one."""

    @strawberry.type
    class Clashing:
        @strawberry.mutation
        def place_order(self) -> bool:
            return True

        @strawberry.mutation
        def resume_workflow_run(self) -> bool:
            return True

    with pytest.raises(DefinitionError) as caught:
        create_schema(define_shop(), mutation=Clashing)
    place, resume = caught.value.problems
    assert "'placeOrder'" in place
    assert "Clashing" in place
    assert "shop.py:" in place
    assert "'resumeWorkflowRun'" in resume


def test_two_types_with_one_name_are_refused() -> None:
    """A model of a resolver and a type of the user's, or of gqlplugin, can't share a name."""

    class Started(BaseModel):
        other: int

    class WorkflowRun(BaseModel):
        other: int

    @create_resolver(name="one", operation="query")
    async def one(ctx: ResolverContext[None]) -> WorkflowRun: ...  # type: ignore[empty-body] # never runs

    @strawberry.type(name="Started")
    class Own:
        other: int

    @strawberry.type
    class OwnQuery:
        @strawberry.field
        def own(self) -> Own: ...  # type: ignore[empty-body] # never runs

    with pytest.raises(DefinitionError, match=r"Started .*Own"):
        create_schema(define_shop(), query=OwnQuery)
    shop = define_shop()
    with pytest.raises(DefinitionError, match="WorkflowRun"):
        create_schema(define_app("shop", workflows=shop.workflows.values(), resolvers=[one]))


def test_a_class_that_is_no_strawberry_type_is_refused() -> None:
    """The error says what to do."""

    class Plain:
        version: int

    with pytest.raises(DefinitionError, match=r"Plain is not a @strawberry\.type"):
        create_schema(define_shop(), query=Plain)


@pytest.mark.parametrize("option", ["sort_schema", "enable_experimental_incremental_execution"])
def test_a_config_that_breaks_the_schema_is_refused(option: str) -> None:
    """Strawberry can't execute a sorted schema, and no extension sees the errors of incremental results."""
    config = StrawberryConfig()
    setattr(config, option, True)
    with pytest.raises(DefinitionError, match=option):
        create_schema(define_shop(), config=config)


def test_the_users_config_is_kept() -> None:
    """Only the scalars are added to it."""
    schema = create_schema(define_shop(), config=StrawberryConfig(relay_max_results=7, auto_camel_case=False))
    assert schema.config.relay_max_results == 7
    assert "workflow_runs(" in str(schema)
