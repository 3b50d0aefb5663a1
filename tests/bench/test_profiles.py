from tests.bench.profiles import STANDARD, of_imports, of_samples, told


def test_the_innermost_code_of_each_sample_counts() -> None:
    shares = of_samples(
        [
            "run (asyncio/runners.py:1);post (chatrelay/outbox.py:2);send (botocore/client.py:3) 6",
            "run (asyncio/runners.py:1);dumps (json/encoder.py:9) 3",
            "<module> (<string>:1) 1",
        ]
    )
    assert shares == {"botocore": 0.6, STANDARD: 0.4}


def test_each_import_counts_for_its_own_time_and_its_package() -> None:
    shares = of_imports(
        "import time: self [us] | cumulative | imported package\n"
        "import time:       100 |        100 |   json.decoder\n"
        "import time:       200 |        500 | json\n"
        "import time:       700 |       1200 | pydantic.main\n"
        "a function's own line\n"
    )
    assert shares == {"pydantic": 0.7, STANDARD: 0.3}
    assert told(shares) == "pydantic 70%, the standard library 30%"
