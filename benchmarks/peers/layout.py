"""How each table lies in every peer: its order, and which columns hold few values."""

ORDER = {
    "events": ["tenant", "ts"],
    "messages": ["tenant", "ts"],
    "tenants": ["tenant"],
    "region": ["r_regionkey"],
    "nation": ["n_nationkey"],
    "supplier": ["s_suppkey"],
    "customer": ["c_custkey"],
    "part": ["p_partkey"],
    "partsupp": ["ps_partkey", "ps_suppkey"],
    "orders": ["o_orderkey"],
    "lineitem": ["l_orderkey", "l_linenumber"],
    "hits": ["CounterID", "EventDate", "UserID", "EventTime", "WatchID"],
}

# As ENUM in DuckDB: what somebody who knows the data would take.
ENUMS = {
    "events": ["tenant", "country", "city", "device", "browser", "url", "referrer", "campaign"],
    "messages": ["tenant", "level"],
    "tenants": ["tenant", "plan", "region"],
    "hits": ["MobilePhoneModel"],
}
ENUM_LISTS = {"events": ["tags"]}
