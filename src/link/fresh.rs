//! Whether tables still are what a snapshot says: see [`super::thorough`].

use super::failure::Failure;
use crate::backend::control::Connection;

/// `$1`: tables. `relfilenode` is read as of the snapshot, the function answers as of now. A partitioned table is its partitions.
pub const AS_SEEN: &str = "SELECT NOT EXISTS ( \
      SELECT FROM unnest($1::oid[]) AS r (rel), \
        LATERAL (SELECT r.rel UNION SELECT p.relid FROM pg_partition_tree(r.rel) AS p) AS t (rel) \
        JOIN pg_class c ON c.oid = t.rel AND c.relkind = 'r' \
      WHERE pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode)";

/// Call it after the tables were read, in the same transaction: their locks keep them as they are.
pub async fn are_as_seen(primary: &Connection, tables: &[u32]) -> Result<bool, Failure> {
    let row = primary.query_one(AS_SEEN, &[&tables]).await.map_err(Failure::Primary)?;
    row.try_get(0).map_err(Failure::Primary)
}
