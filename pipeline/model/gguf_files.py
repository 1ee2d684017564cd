"""GGUF files by llama.cpp's own converter, and what Ollama needs beside one."""

import logging
import re
import subprocess
import sys
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.model.encoding import Encoder
from pipeline.task import Task

logger = logging.getLogger(__name__)

CONVERTER = "convert_hf_to_gguf.py"


def write_gguf(llama_cpp: Path, model: Path, out: Path, gguf_type: str, *, name: str) -> None:
    """Converts a model folder with the converter of a llama.cpp checkout.

    Args:
        llama_cpp: the checkout; its converter is run by this Python, with its own ``gguf-py`` beside it.
        model: folder with weights, config and tokenizer.
        out: the file to write.
        gguf_type: numbers of the weights: f16, bf16 or q8_0.
        name: what the file says the model is called.

    Raises:
        PipelineError: the converter does not know the model or its tokenizer, or fails otherwise.
    """
    command = [sys.executable, str(llama_cpp / CONVERTER), str(model)]
    command += ["--outfile", str(out), "--outtype", gguf_type, "--model-name", name]
    logger.info("converting to GGUF with %s", llama_cpp / CONVERTER)
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode != 0 or not out.is_file():
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        what = " ".join((lines or ["it wrote nothing"])[-1].split())[:300]
        raise PipelineError(
            f"{llama_cpp / CONVERTER}: could not convert the merged model (exit code {result.returncode}): {what}; "
            "try a llama.cpp of another date, or leave gguf out of --to"
        )


def start_of(encoder: Encoder) -> str:
    """Control tokens, as text, that begin a prompt and that the tokenizer puts before any text itself.

    llama.cpp and Ollama do so too, and would have them twice. It is empty where the template does not write them out.
    """
    start = "".join(encoder.tokenizer.convert_ids_to_tokens(encoder.start))
    written_out = not isinstance(encoder.task.template, str)
    return start if written_out and encoder.task.prompt("").before.startswith(start) else ""


def modelfile(task: Task, gguf: str, *, end: str, answer_tokens: int, start: str = "") -> str:
    """Ollama's description of the model: the prompt that it was tuned with, and greedy answers.

    Args:
        task: with the prompt.
        gguf: name of the file beside it.
        end: text of the token that ends an answer.
        answer_tokens: how long an answer may be.
        start: of the prompt, which Ollama puts there itself.

    Raises:
        PipelineError: the prompt holds three quotes, which a Modelfile has no way to write.
    """
    prompt = task.prompt("")
    before = prompt.before.removeprefix(start)
    if '"""' in before + prompt.after or before.startswith('"') or prompt.after.endswith('"'):
        raise PipelineError(
            "--to ollama: expected a prompt without three quotes and without one at its ends, which end a text in a "
            "Modelfile; leave ollama out of --to"
        )
    template = _literal(before) + "{{ .Prompt }}" + _literal(prompt.after)
    # Ollama punishes repetition unless told otherwise, so that a word of the tweet would be a less likely label.
    lines = [
        f"FROM ./{gguf}",
        f'TEMPLATE """{template}"""',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_predict {answer_tokens}",
    ]
    if end and '"' not in end and end.isprintable():
        lines.append(f'PARAMETER stop "{end}"')
    return "\n".join(lines) + "\n"


def _literal(text: str) -> str:
    """A text that Go's templates give back as it is."""
    return re.sub(r"\{+", lambda braces: f'{{{{ "{braces[0]}" }}}}', text)
