//! Keys, segments and pins: who goes where, changed while clients are connected.

use std::path::Path;
use std::time::{Duration, Instant};

use pgduet::demo::proxy::Proxy;
use serde_json::json;

use super::support::client::{block_on, connect, connect_with};
use super::support::{Duo, PROGRAM, fail};

const SCHEMA: &str = "CREATE TABLE place (id integer PRIMARY KEY, name text NOT NULL, tag uuid); \
    CREATE TABLE other (id integer PRIMARY KEY, name text NOT NULL)";

fn duo(settings: &str) -> Duo {
    let duo = Duo::start_with(SCHEMA, settings);
    for side in [&duo.old, &duo.new] {
        let name = side.name();
        let rows = format!(
            "INSERT INTO place SELECT i, '{name}', md5(i::text)::uuid FROM generate_series(1, 200) i; \
             INSERT INTO other SELECT i, '{name}' FROM generate_series(1, 200) i"
        );
        side.sql("app", &rows).expect("rows");
    }
    duo.dual_write();
    duo
}

#[test]
fn a_columns_value_is_the_key_however_it_is_sent() {
    let duo = duo("reads: { key: [column, connection], columns: [place.id, public.place.tag] }");
    duo.read_percent(50.0);
    let route = |id: i32| {
        let path = format!("/api/route?sql=SELECT%20name%20FROM%20place%20WHERE%20id%20=%20{id}");
        duo.admin().get(&path).expect("a route")
    };
    block_on(async {
        let client = connect(duo.proxy.port).await;
        let binary = client
            .prepare("SELECT p.name FROM place p JOIN other o USING (id) WHERE p.id = $1")
            .await
            .expect("a statement");
        let wide = client.prepare("SELECT name FROM place WHERE id = $1::bigint").await.expect("a statement");
        let mut on_new = 0;
        for id in 1..=100 {
            let said = route(id);
            assert_eq!(said["key"], id.to_string(), "{said}");
            assert_eq!(said["bucket"], pgduet::routing::bucket(&id.to_string()));
            let expected = said["side"].as_str().expect("a side").to_owned();
            let simple = client
                .simple_query(&format!("SELECT name FROM place WHERE place.id = '0{id}'::int"))
                .await
                .expect("a read");
            let simple = simple.iter().find_map(|m| match m {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(simple.as_deref(), Some(expected.as_str()), "a literal, id {id}");
            let by_binary: String = client.query_one(&binary, &[&id]).await.expect("a read").get(0);
            assert_eq!(by_binary, expected, "a binary parameter, id {id}");
            let by_wide: String = client.query_one(&wide, &[&i64::from(id)]).await.expect("a read").get(0);
            assert_eq!(by_wide, expected, "a wider parameter, id {id}");
            on_new += i32::from(expected == "new");
        }
        assert!((30..=70).contains(&on_new), "{on_new} of 100 keys are on new at 50 %");
    });
}

#[test]
fn segments_and_pins_change_while_clients_are_connected_and_on_every_instance() {
    let duo = duo("");
    let settings = "clients: { auth: trust }";
    let second = Proxy::start(Path::new(PROGRAM), &duo.old, &duo.new, settings).unwrap_or_else(fail("a second proxy"));
    block_on(async {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").user("app").dbname("app");
        let web = connect_with(config.clone().port(duo.proxy.port).application_name("web-1")).await.expect("a client");
        let api = connect_with(config.clone().port(duo.proxy.port).application_name("api-1")).await.expect("a client");
        let place = async |client: &tokio_postgres::Client, sql: &str| -> String {
            let rows = client.simple_query(sql).await.expect("a read");
            let name = rows.iter().find_map(|m| match m {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            name.expect("a row")
        };
        let (one, two) = ("SELECT name FROM place WHERE id = 1", "SELECT name FROM other WHERE id = 1");
        assert_eq!((place(&web, one).await, place(&api, one).await), ("old".into(), "old".into()));
        let patch = |body: serde_json::Value| duo.admin().policy(body).expect("a change");
        patch(json!({"segments": [{"name": "web", "applications": ["web-*"], "pin": "new"}], "by": "ada"}));
        assert_eq!((place(&web, one).await, place(&api, one).await), ("new".into(), "old".into()));
        let api_only = json!([{"name": "api", "applications": ["api-*"], "networks": ["127.0.0.0/8"], "percent": 100}]);
        patch(json!({"segments": api_only}));
        assert_eq!((place(&web, one).await, place(&api, one).await), ("old".into(), "new".into()));
        let other_has =
            |name: &str| second.admin.get("/api/policy").expect("a policy")["rules"]["segments"][0]["name"] == name;
        duo.eventually("the other instance follows", Duration::from_secs(5), || other_has("api"));
        patch(json!({"segments": [], "pins": [{"table": "public.other", "side": "new"}]}));
        assert_eq!((place(&web, one).await, place(&web, two).await), ("old".into(), "new".into()));
        let keyed = "/* pgduet_key='vip-7' */ SELECT name FROM place WHERE id = 1";
        patch(json!({"pins": [], "segments": [{"name": "vip", "keys": ["vip-*"], "pin": "new"}]}));
        assert_eq!((place(&web, keyed).await, place(&web, one).await), ("new".into(), "old".into()));
        let both = json!({"segments": [{"name": "both", "percent": 1, "pin": "old"}]});
        assert!(duo.admin().policy(both).is_err(), "a segment with a percent and a pin was taken");
    });
    let history = duo.admin().get("/api/history").expect("the history").to_string();
    assert!(history.contains("ada") && history.contains("web-*"), "{history}");
}

#[test]
fn a_change_reaches_every_session_and_every_instance_at_once() {
    let duo = duo("");
    let settings = "clients: { auth: trust }";
    let second = Proxy::start(Path::new(PROGRAM), &duo.old, &duo.new, settings).unwrap_or_else(fail("a second proxy"));
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(connect(duo.proxy.port).await);
        }
        for (percent, expected) in [(100.0, "new"), (0.0, "old"), (100.0, "new")] {
            duo.read_percent(percent);
            // Not a moment later: what is answered once the change was acknowledged is answered by it.
            for client in &clients {
                let row = client.query_one("SELECT name FROM place WHERE id = 1", &[]).await.expect("a read");
                assert_eq!(row.get::<_, String>(0), expected, "{percent} % is not in force on every session");
            }
        }
        for percent in [10.0, 20.0, 30.0] {
            duo.read_percent(percent);
            let changed = Instant::now();
            duo.eventually("the other instance follows", Duration::from_secs(5), || {
                second.admin.get("/api/policy").expect("a policy")["read_percent"] == percent
            });
            println!("{percent} % in force on the other instance within {:?}", changed.elapsed());
        }
    });
}
