"""Numbers, tables and figures: in the data image, if it was built (in minutes), and by wheels in the slim one."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from corral.sandbox import DockerProvider, Limits, Packages, Sandbox, SandboxSpec, image_exists, image_name

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
async def data(docker_image: None) -> AsyncGenerator[DockerProvider]:
    if not await image_exists("data"):
        if os.environ.get("CI") == "true":
            pytest.fail("the data image is not built")
        pytest.skip("the image is not built: corral sandbox build --flavour data")
    async with DockerProvider(image=image_name("data")) as provider:
        yield provider


@pytest.fixture(scope="module")
async def wheels(docker_image: None, request: pytest.FixtureRequest) -> AsyncGenerator[DockerProvider]:
    names = ["matplotlib", "pandas", "pillow"]
    kept = Path(request.config.cache.mkdir("sandbox-wheels"))
    async with DockerProvider(packages=Packages(names, allowed=names, cache=kept)) as provider:
        yield provider


@pytest.fixture(params=["data", "wheels"])
def provider(request: pytest.FixtureRequest) -> DockerProvider:
    return request.getfixturevalue(request.param)


@pytest.fixture
async def sandbox(provider: DockerProvider) -> AsyncGenerator[Sandbox]:
    async with await provider.open(SandboxSpec(Limits(memory_bytes=1024**3))) as session:
        yield session


PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.title('three')\n"


@pytest.mark.parametrize("code", [PLOT, PLOT + "plt.show()", PLOT + "plt.gcf()"])
async def test_a_plot_comes_back_as_one_png(sandbox: Sandbox, code: str) -> None:
    execution = await sandbox.execute(code, timeout=30)
    assert execution.error is None, execution
    assert execution.output == ""
    [first] = execution.artifacts
    assert (first.name, first.media_type) == ("shown-1.png", "image/png")
    assert first.data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (await sandbox.execute("plt.get_fignums()", timeout=5)).value == []


async def test_a_csv_goes_in_and_a_changed_one_comes_out(sandbox: Sandbox) -> None:
    await sandbox.put("in.csv", b"name,n\na,1\nb,2\n")
    code = (
        "import pandas as pd\nframe = pd.read_csv('in.csv')\nframe['n'] *= 10\n"
        "frame.to_csv('out.csv', index=False)\nframe"
    )
    execution = await sandbox.execute(code, timeout=30)
    assert execution.error is None, execution
    assert await sandbox.get("out.csv") == b"name,n\na,10\nb,20\n"
    [table] = execution.artifacts
    assert table.media_type == "text/html"
    assert b"<td>20</td>" in table.data
    assert "20" in execution.value


@pytest.mark.parametrize("provider", ["data"], indirect=True)
async def test_packages_are_imported_before_a_session_needs_them(sandbox: Sandbox) -> None:
    code = "import sys\n[name in sys.modules for name in ('numpy', 'pandas', 'PIL')]"
    assert (await sandbox.execute(code, timeout=5)).value == [True, True, True]


async def test_a_session_with_packages_crashes_and_goes_on(sandbox: Sandbox) -> None:
    await sandbox.execute("import numpy as np\na = np.arange(10)", timeout=10)
    with anyio.fail_after(10):
        assert (await sandbox.execute("import os\nos._exit(1)", timeout=5)).state_kept
    assert (await sandbox.execute("int(a.sum())", timeout=5)).value == 45
