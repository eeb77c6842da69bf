"""The graph of a task, version by version: index, fan out, review, ask, publish and deliver, end.

A dispatch node writes commands; the node after it interrupts first thing and gets all replies in one resume.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from services.orchestrator import nodes
from services.orchestrator.checkpoints import make_saver
from services.orchestrator.domain import StepResult, Task
from services.orchestrator.nodes import EffectsState, ReviewedState, TaskContext, TaskGraphState

Graph: TypeAlias = (
    CompiledStateGraph[TaskGraphState, TaskContext, TaskGraphState, TaskGraphState]
    | CompiledStateGraph[ReviewedState, TaskContext, TaskGraphState, TaskGraphState]
    | CompiledStateGraph[EffectsState, TaskContext, TaskGraphState, TaskGraphState]
)


def make_graph_1() -> Graph:
    graph = StateGraph(TaskGraphState, context_schema=TaskContext)
    graph.add_node("dispatch_index", nodes.dispatch_index)
    graph.add_node("await_index", nodes.await_index)
    graph.add_node("dispatch_generators", nodes.dispatch_generators)
    graph.add_node("await_generators", nodes.await_generators)
    graph.add_node("dispatch_publish", nodes.dispatch_publish)
    graph.add_node("await_publish", nodes.await_publish)
    graph.add_node("finish", nodes.finish)
    graph.add_edge(START, "dispatch_index")
    graph.add_edge("dispatch_index", "await_index")
    graph.add_conditional_edges("await_index", nodes.after_index, ["dispatch_generators", "finish"])
    graph.add_edge("dispatch_generators", "await_generators")
    graph.add_conditional_edges("await_generators", nodes.review, ["dispatch_publish", "finish"])
    graph.add_edge("dispatch_publish", "await_publish")
    graph.add_edge("await_publish", "finish")
    graph.add_edge("finish", END)
    return graph.compile()


def make_graph_2() -> Graph:
    """Waits for a person where the tenant's policy says so."""
    graph = StateGraph(
        ReviewedState, context_schema=TaskContext, input_schema=TaskGraphState, output_schema=TaskGraphState
    )
    graph.add_node("dispatch_index", nodes.dispatch_index)
    graph.add_node("await_index", nodes.await_index)
    graph.add_node("dispatch_generators", nodes.dispatch_generators)
    graph.add_node("await_generators", nodes.await_generators)
    graph.add_node("review", nodes.review_against_policy)
    graph.add_node("await_approval", nodes.await_approval)
    graph.add_node("dispatch_again", nodes.dispatch_again)
    graph.add_node("dispatch_publish", nodes.dispatch_publish)
    graph.add_node("await_publish", nodes.await_publish)
    graph.add_node("finish", nodes.finish)
    graph.add_edge(START, "dispatch_index")
    graph.add_edge("dispatch_index", "await_index")
    graph.add_conditional_edges("await_index", nodes.after_index, ["dispatch_generators", "finish"])
    graph.add_edge("dispatch_generators", "await_generators")
    graph.add_edge("await_generators", "review")
    graph.add_conditional_edges("review", nodes.after_review, ["await_approval", "dispatch_publish", "finish"])
    graph.add_conditional_edges("await_approval", nodes.after_approval, ["dispatch_again", "review"])
    graph.add_edge("dispatch_again", "await_generators")
    graph.add_edge("dispatch_publish", "await_publish")
    graph.add_edge("await_publish", "finish")
    graph.add_edge("finish", END)
    return graph.compile()


def make_graph_3() -> Graph:
    """Delivers a change beside publishing a document."""
    graph = StateGraph(
        EffectsState, context_schema=TaskContext, input_schema=TaskGraphState, output_schema=TaskGraphState
    )
    graph.add_node("dispatch_index", nodes.dispatch_index)
    graph.add_node("await_index", nodes.await_index)
    graph.add_node("dispatch_generators", nodes.dispatch_generators)
    graph.add_node("await_generators", nodes.await_generators)
    graph.add_node("review", nodes.review_effects)
    graph.add_node("await_approval", nodes.await_approval)
    graph.add_node("dispatch_again", nodes.dispatch_again)
    graph.add_node("dispatch_effects", nodes.dispatch_effects)
    graph.add_node("await_effects", nodes.await_effects)
    graph.add_node("finish", nodes.finish)
    graph.add_edge(START, "dispatch_index")
    graph.add_edge("dispatch_index", "await_index")
    graph.add_conditional_edges("await_index", nodes.after_index, ["dispatch_generators", "finish"])
    graph.add_edge("dispatch_generators", "await_generators")
    graph.add_edge("await_generators", "review")
    graph.add_conditional_edges("review", nodes.after_effects_review, ["await_approval", "dispatch_effects", "finish"])
    graph.add_conditional_edges("await_approval", nodes.after_approval, ["dispatch_again", "review"])
    graph.add_edge("dispatch_again", "await_generators")
    graph.add_edge("dispatch_effects", "await_effects")
    graph.add_edge("await_effects", "finish")
    graph.add_edge("finish", END)
    return graph.compile()


GRAPHS: dict[int, Callable[[], Graph]] = {1: make_graph_1, 2: make_graph_2, 3: make_graph_3}
NEWEST_GRAPH = max(GRAPHS)


@cache
def compiled_graph(version: int) -> Graph:
    """Compiling takes as long as a run; a run is given its saver on a copy."""
    return GRAPHS[version]()


async def start(context: TaskContext) -> None:
    """Run a new task up to its first interrupt, inside the session's transaction."""
    await _invoke(context, TaskGraphState(results={}))


async def resume(context: TaskContext, results: dict[str, StepResult]) -> None:
    """Go on after an interrupt with the results of the wave."""
    await _invoke(context, Command(resume=results))


async def _invoke(context: TaskContext, value: TaskGraphState | Command[str]) -> None:
    graph = copy(compiled_graph(context.task.graph_version))
    graph.checkpointer = make_saver(context.session)
    await graph.ainvoke(value, _config(context.task), context=context, durability="exit")


def _config(task: Task) -> RunnableConfig:
    return {"configurable": {"thread_id": str(task.task_id)}}
