//! What dashboards ask of TPC-H's tables; literals differ from turn to turn.

pub(super) const WARM: usize = 8;
pub(super) const TURNS: usize = 48;

/// `{n}` is a number, `{day}` a day, `{mode}` a way of shipping.
pub(super) const STATEMENTS: [&str; 10] = [
    "SELECT COUNT(*) FROM lineitem WHERE l_shipdate >= '{day}'",
    "SELECT SUM(l_extendedprice) AS price FROM lineitem \
     WHERE l_shipdate >= '{day}' AND l_shipmode = '{mode}'",
    "SELECT date_trunc('month', l_shipdate) AS month, SUM(l_quantity) AS quantity FROM lineitem \
     WHERE l_shipdate >= '{day}' GROUP BY 1 ORDER BY 1",
    "SELECT l_shipmode, COUNT(*) AS n, AVG(l_discount) AS discount FROM lineitem \
     WHERE l_quantity < {n} GROUP BY l_shipmode ORDER BY n DESC LIMIT 10",
    "SELECT l_returnflag, l_linestatus, COUNT(*) AS n FROM lineitem \
     WHERE l_shipdate < '{day}' AND l_shipmode IN ('{mode}', 'RAIL') \
     GROUP BY l_returnflag, l_linestatus ORDER BY n DESC",
    "SELECT l_orderkey, l_linenumber, l_shipdate FROM lineitem \
     WHERE l_orderkey = {n} ORDER BY l_linenumber LIMIT 20",
    "SELECT COUNT(DISTINCT l_suppkey) AS suppliers FROM lineitem WHERE l_partkey < {n}",
    "SELECT o_orderpriority, SUM(o_totalprice) AS price, COUNT(*) AS n FROM orders \
     WHERE o_orderdate BETWEEN '{day}' AND '1998-12-31' GROUP BY o_orderpriority \
     HAVING COUNT(*) > {n} ORDER BY price DESC LIMIT 5",
    "SELECT SUM(CASE WHEN o_totalprice > {n} THEN 1 ELSE 0 END) AS large, COUNT(*) AS n \
     FROM orders WHERE o_orderdate >= '{day}'",
    "SELECT date_trunc('week', o_orderdate) AS week, o_orderpriority, COUNT(*) AS n FROM orders \
     WHERE o_orderdate >= '{day}' AND o_orderstatus = 'F' GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 500",
];

const MODES: [&str; 4] = ["AIR", "SHIP", "TRUCK", "MAIL"];

pub(super) fn with_literals(form: &str, turn: usize) -> String {
    let day = format!("1997-{:02}-{:02}", turn % 12 + 1, turn % 28 + 1);
    form.replace("{n}", &(turn + 3).to_string())
        .replace("{day}", &day)
        .replace("{mode}", MODES[turn % MODES.len()])
}
