//! Functions that are stable, and yet answer differently on another server of the same data: they tell about the server, its
//! catalog and roles, the session or the transaction.

const NAMES: [&str; 25] = [
    "col_description",
    "current_catalog",
    "current_database",
    "current_query",
    "current_role",
    "current_schema",
    "current_schemas",
    "current_setting",
    "current_user",
    "format_type",
    "get_current_ts_config",
    "getdatabaseencoding",
    "getpgusername",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "obj_description",
    "oidvectortypes",
    "row_security_active",
    "session_user",
    "shobj_description",
    "system_user",
    "user",
    "version",
];
/// `..._to_xml...` reads tables that the text does not name.
const BEGINNINGS: [&str; 6] = ["pg_", "txid_", "to_reg", "database_to_xml", "schema_to_xml", "table_to_xml"];

/// `name`: lower-case, without its schema.
pub fn is_server_local(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || (name.starts_with("has_") && name.ends_with("_privilege"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_catalog_or_a_role_decides_stays_on_the_primary() {
        assert!(NAMES.is_sorted());
        for name in
            ["to_regrole", "has_table_privilege", "obj_description", "pg_get_viewdef", "version", "table_to_xml"]
        {
            assert!(is_server_local(name), "{name}");
        }
        for name in ["to_char", "now", "has_role", "format", "date_trunc", "json_agg", "has_privileges"] {
            assert!(!is_server_local(name), "{name}");
        }
    }
}
