"""The script of the README prints what the README says."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_script_of_the_readme(tmp_path: Path) -> None:
    (script, output) = re.findall(r"^```(?:python|text)\n(.*?)^```$", README.read_text(), re.M | re.S)
    (tmp_path / "work.py").write_text(script)
    done = subprocess.run([sys.executable, "work.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.stdout == output, done.stderr
    assert done.stderr == ""
