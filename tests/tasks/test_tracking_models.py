"""A registered model is one that MLflow itself can load."""

import shutil
from pathlib import Path

from models.checkpoint import Checkpoint
from tasks.tracking_client import create_run, open_client, tracking_uri
from tasks.tracking_models import register, start


def test_the_champion_is_loaded_by_mlflow_and_answers_as_the_checkpoint_does(
    tmp_path: Path, student: Checkpoint, empty_store: Path
) -> None:
    import mlflow
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    client = open_client(tracking_uri(tmp_path))
    run = create_run(client, tmp_path, "demo", "round 0")
    version, model_id = register(client, "demo", student.path, run, run, 0)
    start(client, "demo", version)
    mlflow.set_tracking_uri(tracking_uri(tmp_path))
    try:
        pipeline = mlflow.transformers.load_model("models:/demo@champion")
    finally:
        mlflow.set_tracking_uri(None)  # which takes it out of the environment, too
    plain, tokenizer = AutoModelForCausalLM.from_pretrained(student.path), AutoTokenizer.from_pretrained(student.path)
    for name, weights in plain.state_dict().items():
        assert torch.equal(weights, pipeline.model.state_dict()[name])
    chat = [{"role": "user", "content": "What is the capital of Zesonia?"}]
    said = pipeline(chat, max_new_tokens=12, do_sample=False)[0]["generated_text"][-1]["content"]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    made = plain.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert said == tokenizer.decode(made, skip_special_tokens=True)
    assert said.strip()
    assert client.get_logged_model(model_id).model_type == "transformers"
