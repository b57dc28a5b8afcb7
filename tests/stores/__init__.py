"""One contract for every store; each store's own file only says how to open it."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "samples",
            "contract_append",
            "contract_query",
            "contract_figures",
            "contract_retention",
            "machine",
        )
    )
)
