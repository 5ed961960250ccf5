"""What the terminal shows never decides over a run."""

import os
import subprocess
import sys
from pathlib import Path

from tests.end_to_end.command import ROOT

SCRIPT = """
import sys
from pathlib import Path
from flows.display import console, quiet_libraries, working
with quiet_libraries(Path(sys.argv[1])):
    with working("sample"):
        console().print("a warning")
    with working("align"):
        Path(sys.argv[2]).touch()
"""


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    """As after a worker's SIGKILL: it read what its flow's process prints."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run.log"), str(tmp_path / "aligned")]
    ended = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (tmp_path / "aligned").exists(), ended.stderr
    assert (ended.returncode, ended.stderr) == (0, "")
