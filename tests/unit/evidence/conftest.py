"""Repositories in miniature, as passages and facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from morningai.evidence.model import Fact, FactKind, Passage

COMMIT = "0123456789abcdef0123456789abcdef01234567"

MakePassage = Callable[..., Passage]
MakeFact = Callable[..., Fact]


def passage_of(path: str, text: str, *, symbol: str = "", start_line: int = 1) -> Passage:
    text = text.strip("\n")
    end_line = start_line + text.count("\n")
    return Passage(path, symbol, COMMIT, "b" * 40, start_line, end_line, text)


def fact_of(kind: FactKind, name: str, path: str, quote: str, *, line: int = 1) -> Fact:
    return Fact(kind, name, path, COMMIT, "b" * 40, line, line + quote.count("\n"), quote)


FLASK_APP = (
    passage_of("README.md", "# Notes\n\nNotes is a small web application that keeps short texts.\n", symbol="Notes"),
    passage_of(
        "README.md",
        "## Installation\n\nIt needs Python 3.11.\n\n```\npip install notes\n```\n",
        symbol="Installation",
        start_line=5,
    ),
    passage_of(
        "README.md",
        "## Running the Tests\n\nThe tests need no network.\n\n```\npytest -q\n```\n",
        symbol="Running the Tests",
        start_line=13,
    ),
    passage_of(
        "notes/app.py",
        "def create_app(settings: Settings) -> Flask:\n"
        '    """Builds the application with its routes and its database."""\n'
        "    app = Flask(__name__)\n    return app\n",
        symbol="create_app",
    ),
    passage_of(
        "notes/sessions.py",
        'class SignedSession:\n    """Keeps the session in a cookie that is signed with the secret key."""\n',
        symbol="SignedSession",
    ),
    passage_of(
        "notes/store.py",
        '"""Where notes are stored: one row per note."""\n\n\ndef delete_note(note_id: int) -> None:\n'
        '    """Removes a note for ever."""\n',
    ),
    passage_of(
        "docs/errors.md",
        "# Error pages\n\nAn error page tells the reader what happened. Unknown notes give 404.\n",
        symbol="Error pages",
    ),
    passage_of("tests/test_app.py", "def test_a_note_is_kept(client):\n    assert client.get('/notes/1')\n"),
)
FLASK_FACTS = (
    fact_of("route", "GET /notes", "notes/app.py", '@app.get("/notes")', line=9),
    fact_of("route", "POST /notes", "notes/app.py", '@app.post("/notes")', line=14),
)

COMPOSE_PROJECT = (
    passage_of(
        "README.md",
        "# Photo Box\n\nPhoto Box is a site for sharing photographs.\n\n"
        "The **web** container serves the pages. The `worker` makes thumbnails in the background.\n"
        "All metadata lives in PostgreSQL.\n\n## Development\n\n    docker compose up\n",
        symbol="Photo Box",
    ),
    passage_of(
        "compose.yaml",
        "services:\n  web:\n    build: .\n  worker:\n    build: .\n"
        "  db:\n    image: postgres:18\n  cache:\n    image: redis:8\n",
    ),
)
COMPOSE_FACTS = (
    fact_of("compose_service", "web", "compose.yaml", "  web:\n    build: .", line=2),
    fact_of("compose_service", "worker", "compose.yaml", "  worker:\n    build: .", line=4),
    fact_of("compose_service", "db", "compose.yaml", "  db:\n    image: postgres:18", line=6),
    fact_of("compose_service", "cache", "compose.yaml", "  cache:\n    image: redis:8", line=8),
)

LIBRARY = (
    passage_of(
        "README.rst",
        "Parcel\n======\n\nParcel is a library that packs values into bytes.\n",
        symbol="Parcel",
    ),
    passage_of(
        "src/parcel/packing.py",
        'def pack(value: object) -> bytes:\n    """Turns a value into bytes."""\n',
        symbol="pack",
    ),
    passage_of(
        "src/parcel/reading.py",
        'class Reader:\n    """Reads values back from bytes, one at a time."""\n',
        symbol="Reader",
    ),
)

PLATFORM = (
    passage_of(
        "ARCHITECTURE.md",
        """
# Architecture

Six services exchange events on NATS JetStream.
NATS can be emptied at any time; PostgreSQL is the truth.

| part | what it does |
|---|---|
| `gateway` | The one public door, which authenticates keys. |
| `orchestrator` | Runs each task as a state machine. |
| `tenancy` | Owns tenants, keys and limits. |

- `docs`: turns repositories into passages.
- **faqgen** writes answers and FAQ items.
""",
        symbol="Architecture",
    ),
    passage_of("services/codegen/README.md", "# codegen\n\nChanges code and verifies the change independently.\n"),
    *(
        passage_of(f"services/{name}/__main__.py", f'"""Starts {name}."""\n')
        for name in ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
    ),
)
PLATFORM_FACTS = tuple(
    fact_of("service", f"services.{name}", f"services/{name}/__main__.py", f'"""Starts {name}."""')
    for name in ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")
)

UNDOCUMENTED = (
    passage_of(
        "shop/orders.py",
        "def place_order(items):\n    return total_of(items)\n\n\ndef cancel_order(order):\n"
        "    def undo():\n        pass\n    undo()\n",
    ),
    passage_of(
        "shop/server.py",
        'PORT = int(os.environ.get("SHOP_PORT", "8080"))\n\n\n@app.get("/health")\ndef health():\n    return "ok"\n',
    ),
)
UNDOCUMENTED_FACTS = (
    fact_of("route", "GET /health", "shop/server.py", '@app.get("/health")', line=4),
    fact_of("route", "POST /orders", "shop/server.py", '@app.post("/orders")', line=9),
)

DOTNET = (
    passage_of("README.md", "# Shop\n\nShop is a reference application.\n\nStart Basket.API to try it.\n"),
    passage_of("src/Basket.API/Model/BasketItem.cs", "namespace Shop;\n\npublic class BasketItem\n{\n}\n"),
    passage_of("src/Basket.API/Extensions.cs", "public static class Extensions\n{\n}\n"),
    passage_of(
        "src/Events/Bus.cs", "/// <summary>\n/// Carries events.\n/// </summary>\npublic interface IBus\n{\n}\n"
    ),
)
DOTNET_FACTS = (
    fact_of("service", "Basket.API", "src/Basket.API/Basket.API.csproj", '<Project Sdk="Microsoft.NET.Sdk.Web">'),
    fact_of("module", "Events.Core", "src/Events/Events.Core.csproj", '<Project Sdk="Microsoft.NET.Sdk">'),
    fact_of("compose_service", "bus", "src/AppHost/Program.cs", 'builder.AddRabbitMQ("bus")', line=3),
)


@pytest.fixture
def undocumented() -> tuple[Sequence[Passage], Sequence[Fact]]:
    return UNDOCUMENTED, UNDOCUMENTED_FACTS


@pytest.fixture
def dotnet() -> tuple[Sequence[Passage], Sequence[Fact]]:
    return DOTNET, DOTNET_FACTS


@pytest.fixture
def make_passage() -> MakePassage:
    return passage_of


@pytest.fixture
def make_fact() -> MakeFact:
    return fact_of


@pytest.fixture
def flask_app() -> tuple[Sequence[Passage], Sequence[Fact]]:
    return FLASK_APP, FLASK_FACTS


@pytest.fixture
def compose_project() -> tuple[Sequence[Passage], Sequence[Fact]]:
    return COMPOSE_PROJECT, COMPOSE_FACTS


@pytest.fixture
def library() -> tuple[Sequence[Passage], Sequence[Fact]]:
    return LIBRARY, ()


@pytest.fixture
def platform() -> tuple[Sequence[Passage], Sequence[Fact]]:
    return PLATFORM, PLATFORM_FACTS
