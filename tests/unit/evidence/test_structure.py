from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from morningai.evidence.extractive import answer_extractively
from morningai.evidence.model import Fact, Passage
from morningai.evidence.structure import structure_focus

Repository = tuple[Sequence[Passage], Sequence[Fact]]
SERVICES = ("gateway", "orchestrator", "docs", "faqgen", "codegen", "tenancy")


@pytest.mark.parametrize(
    "question",
    [
        "What is the system architecture?",
        "Which services are there?",
        "how is this project structured",
        "what components",
        "Give me an overview of the services of the platform",
    ],
)
def test_all_services_are_named_with_citations(platform: Repository, question: str) -> None:
    answer = answer_extractively(question, *platform)
    named = {claim.text.split("`")[1] for claim in answer.claims if claim.topic == "Services"}
    assert named == set(SERVICES)
    assert all(claim.evidence for claim in answer.claims)


def test_the_architecture_names_the_infrastructure(platform: Repository) -> None:
    answer = answer_extractively("What is the system architecture?", *platform)
    assert [claim.text for claim in answer.claims if claim.topic == "Infrastructure"] == [
        "`NATS` can be emptied at any time; PostgreSQL is the truth.",
        "`PostgreSQL`: NATS can be emptied at any time; PostgreSQL is the truth.",
    ]


@pytest.mark.parametrize(
    ("service", "definition"),
    [
        ("gateway", "`gateway`: The one public door, which authenticates keys."),
        ("docs", "`docs`: Turns repositories into passages."),
        ("faqgen", "`faqgen` writes answers and FAQ items."),
        ("codegen", "`codegen`: Changes code and verifies the change independently."),
    ],
)
def test_rows_items_and_readmes_define_better_than_a_docstring(
    platform: Repository, service: str, definition: str
) -> None:
    claims = answer_extractively("Which services are there?", *platform).claims
    assert definition.lower() in [claim.text.lower() for claim in claims]


def test_a_definition_that_does_not_name_its_part_cites_the_declaration_too(platform: Repository) -> None:
    claims = answer_extractively("Which services are there?", *platform).claims
    codegen = next(claim for claim in claims if claim.text.startswith("`codegen`"))
    assert [evidence.path for evidence in codegen.evidence] == [
        "services/codegen/README.md",
        "services/codegen/__main__.py",
    ]


def test_compose_services_are_services_and_images_infrastructure(compose_project: Repository) -> None:
    answer = answer_extractively("What is the system architecture?", *compose_project)
    assert [(claim.topic, claim.text) for claim in answer.claims] == [
        ("Overview", "Photo Box is a site for sharing photographs."),
        ("Services", "The web container serves the pages."),
        ("Services", "The `worker` makes thumbnails in the background."),
        ("Infrastructure", "`PostgreSQL`: All metadata lives in PostgreSQL."),
        ("Infrastructure", "`Redis` (infrastructure) is declared in `compose.yaml`."),
    ]


def test_a_library_is_described_by_its_modules(library: Repository) -> None:
    answer = answer_extractively("What is the architecture of Parcel?", *library)
    assert [claim.text for claim in answer.claims] == [
        "Parcel is a library that packs values into bytes.",
        "`parcel.packing` defines `pack`: Turns a value into bytes.",
        "`parcel.reading` defines `Reader`: Reads values back from bytes, one at a time.",
    ]


def test_a_library_has_no_services(library: Repository) -> None:
    assert not answer_extractively("Which services are there?", *library).found


def test_a_library_that_can_be_run_is_no_service(library: Repository, make_fact: Callable[..., Fact]) -> None:
    runnable = make_fact("service", "parcel", "src/parcel/__main__.py", "from parcel.cli import main")
    assert not answer_extractively("Which services are there?", library[0], [runnable]).found


def test_services_in_folders_of_any_language_are_named(make_passage: Callable[..., Passage]) -> None:
    passages = [
        make_passage("services/billing/main.go", "// Package main bills the customers every month.\npackage main\n"),
        make_passage("services/mailer/index.js", "import { send } from './smtp.js'\n"),
    ]
    claims = answer_extractively("Which services are there?", passages, ()).claims
    assert [claim.text.split("`")[1] for claim in claims] == ["billing", "mailer"]


def test_routes_are_listed_from_facts(flask_app: Repository) -> None:
    claims = answer_extractively("Which routes are there?", *flask_app).claims
    assert [claim.text for claim in claims] == [
        "`GET /notes` (route) is declared in `notes/app.py`.",
        "`POST /notes` (route) is declared in `notes/app.py`.",
    ]


@pytest.mark.parametrize(
    "question",
    [
        "What does the gateway service do?",
        "How does the architecture handle retries?",
        "Which service owns the tenants?",
        "How is a session signed?",
    ],
)
def test_a_question_about_one_thing_is_no_structure_question(platform: Repository, question: str) -> None:
    assert structure_focus(question, *platform) == ()


def test_a_definition_that_begins_with_its_part_names_it_once(make_passage: Callable[..., Passage]) -> None:
    rows = "| `mailer` | The mailer sends letters. |\n| `billing` | Bills every month. |"
    passages = [
        make_passage("ARCHITECTURE.md", f"# Architecture\n\n| part | what it does |\n|---|---|\n{rows}\n"),
        make_passage("services/billing/main.go", "package main\n"),
        make_passage("services/mailer/index.js", "import { send } from './smtp.js'\n"),
    ]
    claims = answer_extractively("Which services are there?", passages, ()).claims
    assert [claim.text for claim in claims] == ["`billing`: Bills every month.", "The `mailer` sends letters."]


def test_the_overview_says_first_what_it_is_and_then_what_names_the_most_parts(
    make_passage: Callable[..., Passage],
) -> None:
    passages = [
        make_passage(
            "README.md", "# Shop\n\nShop sells tea to its customers. It is small and very friendly.\n", symbol="Shop"
        ),
        make_passage("ARCHITECTURE.md", "# Architecture\n\nEvery event goes from billing to mailer.\n"),
        make_passage("services/billing/main.go", "// Package main bills every month.\npackage main\n"),
        make_passage("services/mailer/main.go", "// Package main sends letters.\npackage main\n"),
    ]
    claims = answer_extractively("What is the system architecture?", passages, ()).claims
    opening = [claim.text for claim in claims if claim.topic == "Overview"]
    assert opening == ["Shop sells tea to its customers.", "Every event goes from billing to mailer."]


def test_a_row_about_something_else_defines_no_service(make_passage: Callable[..., Passage]) -> None:
    passages = [
        make_passage("services/mailer/main.go", "// Package main sends letters to customers.\npackage main\n"),
        make_passage("services/README.md", "| | |\n|---|---|\n| asks | `mailer`, `billing` |\n"),
    ]
    claims = answer_extractively("Which services are there?", passages, ()).claims
    assert [claim.text for claim in claims] == ["`mailer`: Package main sends letters to customers."]


def test_jobs_of_compose_are_not_listed_among_services_that_are_described(
    platform: Repository, make_fact: Callable[..., Fact]
) -> None:
    migrate = make_fact("compose_service", "migrate", "compose.yaml", "  migrate:\n    build: .")
    claims = answer_extractively("Which services are there?", platform[0], [*platform[1], migrate]).claims
    assert {claim.text.split("`")[1] for claim in claims} == set(SERVICES)


def test_what_the_project_is_gets_its_introduction(flask_app: Repository) -> None:
    claims = answer_extractively("What is this project?", *flask_app).claims
    assert claims[0].text == "Notes is a small web application that keeps short texts."


def test_projects_of_dotnet_are_services_and_packages_with_what_they_define(dotnet: Repository) -> None:
    answer = answer_extractively("What is the system architecture?", *dotnet)
    assert [(claim.topic, claim.text) for claim in answer.claims] == [
        ("Overview", "Shop is a reference application."),
        ("Overview", "Start Basket.API to try it."),
        ("Services", "`Basket.API` (service) defines `BasketItem` and `Extensions`."),
        ("Infrastructure", "`RabbitMQ` (infrastructure) is declared in `src/AppHost/Program.cs`."),
        ("Packages", "`Events.Core` (package) defines `IBus`."),
    ]
    assert [evidence.path for evidence in answer.claims[2].evidence] == [
        "src/Basket.API/Basket.API.csproj",
        "src/Basket.API/Model/BasketItem.cs",
        "src/Basket.API/Extensions.cs",
    ]


def test_modules_without_documentation_are_described_by_their_own_names(undocumented: Repository) -> None:
    answer = answer_extractively("What is the system architecture?", *undocumented)
    assert [claim.text for claim in answer.claims] == [
        "`shop.orders` (module) defines `place_order` and `cancel_order`.",
        "`shop.server` (module) defines `health`.",
    ]


def test_an_item_that_links_to_a_services_folder_defines_it(
    make_passage: Callable[..., Passage], make_fact: Callable[..., Fact]
) -> None:
    readme = "# Poll\n\nThe vote page is at port 80.\n\n* A [front-end](/vote) which takes votes\n"
    facts = [make_fact("compose_service", "vote", "compose.yaml", "  vote:\n    build: vote", line=2)]
    answer = answer_extractively("Which services are there?", [make_passage("README.md", readme)], facts)
    assert [claim.text for claim in answer.claims] == ["`vote`: A front-end which takes votes."]


def test_what_a_manifest_says_of_its_package_defines_it(make_fact: Callable[..., Fact]) -> None:
    quote = '"name": "@shop/cart",\n"description": "Keeps what a customer wants to buy"'
    facts = [make_fact("module", "@shop/cart", "packages/cart/package.json", quote, line=2)]
    answer = answer_extractively("Which packages are there?", [], facts)
    assert [claim.text for claim in answer.claims] == ["`@shop/cart`: Keeps what a customer wants to buy."]


def test_a_job_of_compose_that_is_only_mentioned_is_no_service_beside_services(
    platform: Repository, make_passage: Callable[..., Passage], make_fact: Callable[..., Fact]
) -> None:
    passages = [*platform[0], make_passage("docs/adr/0001.md", "# Keys\n\nThe tenants own keys, secrets and limits.\n")]
    facts = [*platform[1], make_fact("compose_service", "secrets", "compose.yaml", "  secrets:\n    image: busybox")]
    claims = answer_extractively("Which services are there?", passages, facts).claims
    assert {claim.text.split("`")[1] for claim in claims} == set(SERVICES)


def test_a_function_under_a_block_comment_defines_its_module(make_passage: Callable[..., Passage]) -> None:
    code = "'use strict';\n\n/**\n * Sends a body to the client.\n */\n\nres.send = function send(body) {\n}\n"
    answer = answer_extractively("Which modules are there?", [make_passage("lib/response.js", code)], [])
    assert [claim.text for claim in answer.claims] == ["`response` defines `send`: Sends a body to the client."]
