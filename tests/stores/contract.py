"""The contract of a store, as tests. A store's own file subclasses `StoreContract` and says how to
open the store:

    class TestSomeStore(StoreContract, StoreMachine):
        @pytest.fixture
        def make_store(self, tmp_path: Path) -> MakeStore: ...

`make_store` opens the store on the same underlying data each time it is called in one test; the
data are another's in the next test, or emptied. What it opens is closed by the tests.
"""

from __future__ import annotations

from tests.stores.contract_answers import AnswersContract
from tests.stores.contract_append import AppendContract
from tests.stores.contract_figures import FiguresContract
from tests.stores.contract_query import QueryContract
from tests.stores.contract_retention import RetentionContract


class StoreContract(
    AppendContract, QueryContract, FiguresContract, RetentionContract, AnswersContract
):
    """Every sentence of `shared.stores.base`, on any store."""
