"""What the teacher was asked: the prompt templates in MLflow's prompt registry, and a handful of calls a stage as traces."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.clock import since_1970
from data_contracts.store import Dataset, digest
from models.journal import sample_calls
from models.prompts import template_source

CALLS = 5  # traces a stage: enough to look at, at some 70 ms each


def log_prompts(client: Any, run_id: str, stages: Mapping[str, Dataset]) -> None:
    """Each template that a stage of these used, as prompt `plumbline-<template>` with the stage's name as alias.

    A template whose text is registered already gets no new version.
    """
    linked = []
    for stage, data in stages.items():
        settings = data.manifest["config"]
        if "template" not in settings or settings.get("kind") == "likelihood":
            continue
        name, text = f"plumbline-{settings['template']}", template_source(settings["template"])
        prompt = client.load_prompt(f"prompts:/{name}@latest", allow_missing=True, cache_ttl_seconds=0)
        if prompt is None or prompt.template != text:
            prompt = client.register_prompt(name, text, tags={"plumbline.digest": digest(text)})
        client.set_prompt_alias(name, stage, prompt.version)
        linked.append({"name": name, "version": str(prompt.version)})
    if linked:  # as MLflow's own call would, if that did not ask the process's global address
        client.set_tag(run_id, "mlflow.linkedPrompts", json.dumps(linked))


def log_calls(client: Any, uri: str, run: Path, run_id: str, stages: Mapping[str, Dataset]) -> None:
    """Traces of `CALLS` calls of each stage that paid for some; they belong to the MLflow run `run_id`."""
    from mlflow.tracing.client import TracingClient

    traces, experiment = TracingClient(uri), client.get_run(run_id).info.experiment_id
    for stage, data in stages.items():
        for call in sample_calls(run, data.folder, CALLS):
            _trace(traces, experiment, run_id, stage, call)


def forget_calls(client: Any, run_id: str) -> None:
    """Take back the traces of a run that an outage cut short."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_traces([experiment], filter_string=f"metadata.`mlflow.sourceRun` = '{run_id}'", include_spans=False)
    if found:
        client.delete_traces(experiment, trace_ids=[trace.info.trace_id for trace in found])


def _trace(traces: Any, experiment: str, run_id: str, stage: str, call: Mapping[str, Any]) -> None:
    """One span of a chat completion, with its tokens and cost where the journal knows them."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

    id_ = digest([run_id, stage, call["key"]]) * 2  # 32 hexadecimal digits, the same whenever it is told
    asked = json.loads(call["request"])
    inputs = {"model": asked["model"], "messages": asked["messages"], **asked["sampling"]}
    answer = {"role": "assistant", "content": call["reply"]}
    outputs = {"choices": [{"index": 0, "message": answer, "finish_reason": call["finish_reason"]}]}
    seconds = since_1970(call["created"])
    tokens, cost = _usage(call)
    attributes: dict[str, Any] = (
        {
            "mlflow.traceRequestId": f"tr-{id_}",
            "mlflow.spanType": "CHAT_MODEL",
            "mlflow.spanInputs": inputs,
            "mlflow.spanOutputs": outputs,
            "mlflow.llm.model": asked["model"],
            "mlflow.message.format": "openai",
            "plumbline.stage": stage,
        }
        | ({"mlflow.chat.tokenUsage": tokens} if tokens else {})
        | ({"mlflow.llm.cost": cost} if cost else {})
    )
    span = {
        "trace_id": f"tr-{id_}",
        "span_id": id_[:16],
        "parent_span_id": "",
        "name": stage,
        "start_time_unix_nano": seconds * 10**9,
        "end_time_unix_nano": seconds * 10**9,
        "attributes": {k: json.dumps(v) for k, v in attributes.items()},
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "events": [],
    }
    metadata = {"mlflow.sourceRun": run_id, "mlflow.trace_schema.version": "3"}
    metadata |= {"mlflow.trace.tokenUsage": json.dumps(tokens)} if tokens else {}
    metadata |= {"mlflow.trace.cost": json.dumps(cost)} if cost else {}
    info = TraceInfo(
        trace_id=f"tr-{id_}",
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=seconds * 1000,
        state=TraceState.OK,
        request_preview=str(asked["messages"][-1]["content"])[:1000],
        response_preview=call["reply"][:1000],
        execution_duration=0,
        trace_metadata=metadata,
        tags={"mlflow.traceName": stage, "plumbline.finish_reason": call["finish_reason"]},
    )
    traces.start_trace(info)
    traces.log_spans(experiment, [Span.from_dict(span)])


def _usage(call: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, float]]:
    """Tokens and dollars of a call, as far as the journal knows them."""
    read, written, cost = (call.get(name) for name in ("input_tokens", "output_tokens", "cost"))
    tokens = (
        {}
        if read is None or written is None
        else {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    )
    return tokens, {} if cost is None else {"total_cost": cost}
