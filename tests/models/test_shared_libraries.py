"""What vLLM's wheel takes from the system."""

import pytest

from data_contracts.errors import PlumblineError
from models import shared_libraries
from models.shared_libraries import check_libraries


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_libraries, "visible", list)


def test_what_this_machine_has_is_not_refused() -> None:
    check_libraries()
    assert shared_libraries.NEEDED


def test_a_library_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_libraries, "NEEDED", {"libmissing.so.1": "libmissing1 on Debian"})
    with pytest.raises(PlumblineError, match=r"libmissing\.so\.1, which this machine does not have: .* \(libmissing1 on Debian\)"):
        check_libraries()


def test_the_wheel_for_gpus_needs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_libraries, "NEEDED", {"libmissing.so.1": "libmissing1 on Debian"})
    monkeypatch.setattr(shared_libraries, "visible", lambda: ["0"])
    assert check_libraries() is None
