// JDBC: batches, rewritten batches, generated keys, cursors by fetch size, prepared on the server from the fifth use on.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Arrays;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;

public class Jdbc {
    static final int RUN = Integer.parseInt(System.getenv("RUN"));

    interface Action {
        void run() throws SQLException;
    }

    static String email(String name) {
        return "jdbc." + name + "." + RUN + "@example.com";
    }

    static void show(String label, Object... seen) {
        System.out.println(label + " " + Arrays.deepToString(seen));
    }

    static void attempt(String label, Action action) {
        try {
            action.run();
            show(label, "no error");
        } catch (SQLException e) {
            SQLException last = e.getNextException() == null ? e : e.getNextException();
            Object position = last instanceof PSQLException p && p.getServerErrorMessage() != null ? p.getServerErrorMessage().getPosition() : null;
            show(label, last.getSQLState(), last.getMessage(), position, e instanceof BatchUpdateException b ? b.getUpdateCounts() : null);
        }
    }

    static String rows(ResultSet rows) throws SQLException {
        StringBuilder text = new StringBuilder();
        ResultSetMetaData columns = rows.getMetaData();
        for (int n = 1; n <= columns.getColumnCount(); n++) {
            text.append(columns.getColumnName(n)).append(':').append(columns.getColumnTypeName(n)).append(' ');
        }
        while (rows.next()) {
            for (int n = 1; n <= columns.getColumnCount(); n++) {
                text.append(rows.getString(n)).append(n < columns.getColumnCount() ? "|" : ";");
            }
        }
        return text.toString();
    }

    static Connection open(String mode) throws SQLException {
        String address = System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        return DriverManager.getConnection("jdbc:postgresql://" + address + "?user=" + System.getenv("PGUSER") + mode);
    }

    static void statements(Connection c, String tag) throws SQLException {
        try (PreparedStatement insert = c.prepareStatement("INSERT INTO customers (email, balance) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            insert.setString(1, email(tag));
            insert.setBigDecimal(2, new BigDecimal("1.25"));
            show("inserted", insert.executeUpdate());
            try (ResultSet keys = insert.getGeneratedKeys()) {
                show("keys", keys.getMetaData().getColumnCount(), keys.next(), keys.getString("email"));
            }
        }
        try (PreparedStatement update = c.prepareStatement("UPDATE customers SET balance = balance + ? WHERE email = ?");
             PreparedStatement read = c.prepareStatement("SELECT balance, born, tags FROM customers WHERE email = ?")) {
            for (int turn = 0; turn < 8; turn++) {
                update.setInt(1, turn);
                update.setString(2, email(tag));
                read.setString(1, email(tag));
                show("turn", update.executeUpdate(), rows(read.executeQuery()));
            }
        }
        try (PreparedStatement named = c.prepareStatement("INSERT INTO customers (email) VALUES (?)", new String[] {"email", "balance"})) {
            named.setString(1, email(tag + "2"));
            named.executeUpdate();
            show("named keys", rows(named.getGeneratedKeys()));
            attempt("conflict", named::executeUpdate);
            rollback(c);
        }
        try (Statement s = c.createStatement()) {
            attempt("position", () -> s.executeUpdate("UPDATE customers SET nothing = 1"));
            rollback(c);
            show("several", s.execute("INSERT INTO events (what) VALUES ('j'); SELECT 1 AS one; UPDATE events SET what = 'k' WHERE what = 'none'"),
                s.getUpdateCount(), s.getMoreResults(), rows(s.getResultSet()), s.getMoreResults(), s.getUpdateCount());
            s.execute("DO $$ BEGIN RAISE WARNING 'said'; END $$");
            show("warnings", s.getWarnings().getMessage());
        }
        commit(c);
    }

    static void commit(Connection c) throws SQLException {
        if (!c.getAutoCommit()) c.commit();
    }

    static void rollback(Connection c) throws SQLException {
        if (!c.getAutoCommit()) c.rollback();
    }

    static void batches(Connection c, String tag) throws SQLException {
        try (PreparedStatement batch = c.prepareStatement("INSERT INTO customers (email, balance) VALUES (?, ?)")) {
            for (int n = 0; n < 300; n++) {
                batch.setString(1, email(tag + n));
                batch.setInt(2, n);
                batch.addBatch();
            }
            show("batch", Arrays.stream(batch.executeBatch()).distinct().toArray());
        }
        try (PreparedStatement batch = c.prepareStatement("UPDATE customers SET balance = ? WHERE email = ?", Statement.RETURN_GENERATED_KEYS)) {
            for (int n = 0; n < 10; n++) {
                batch.setInt(1, n);
                batch.setString(2, email(tag + n));
                batch.addBatch();
            }
            show("keys of a batch", batch.executeBatch(), rows(batch.getGeneratedKeys()).split(";").length);
        }
        try (PreparedStatement batch = c.prepareStatement("INSERT INTO customers (email) VALUES (?)")) {
            for (String name : new String[] {"fresh", "0", "other"}) {
                batch.setString(1, email(tag + name));
                batch.addBatch();
            }
            attempt("batch that fails", batch::executeBatch);
            rollback(c);
        }
        try (Statement s = c.createStatement(); ResultSet sum = s.executeQuery("SELECT count(*), sum(balance) FROM customers WHERE email LIKE '" + email(tag + "%") + "'")) {
            show("sum", rows(sum));
        }
        commit(c);
    }

    static void cursors(Connection c) throws SQLException {
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("SELECT n, repeat('x', n) FROM generate_series(1, ?) n")) {
            s.setFetchSize(4);
            for (int turn = 0; turn < 7; turn++) {
                s.setInt(1, 10 + turn);
                show("fetched", rows(s.executeQuery()));
            }
        }
        try (PreparedStatement s = c.prepareStatement("UPDATE customers SET balance = 2 WHERE email LIKE ? RETURNING balance")) {
            s.setFetchSize(4);
            s.setString(1, email("batch%"));
            show("returned", rows(s.executeQuery()).split(";").length);
        }
        Savepoint here = c.setSavepoint("here");
        try (Statement s = c.createStatement()) {
            show("deleted", s.executeUpdate("DELETE FROM customers WHERE email LIKE '" + email("batch%") + "'"));
            c.rollback(here);
            show("back", rows(s.executeQuery("SELECT count(*) FROM customers WHERE email LIKE '" + email("batch%") + "'")));
        }
        c.commit();
        c.setAutoCommit(true);
    }

    static void copies(Connection c) throws Exception {
        StringBuilder text = new StringBuilder();
        for (int n = 0; n < 200; n++) {
            text.append(RUN * 1000 + n).append("\tname ").append(n).append("\n");
        }
        var copy = c.unwrap(PGConnection.class).getCopyAPI();
        show("copied", copy.copyIn("COPY copied (id, name) FROM STDIN", new StringReader(text.toString())));
        StringWriter out = new StringWriter();
        show("out", copy.copyOut("COPY (SELECT id, name FROM copied WHERE id % 50 = 0 ORDER BY id) TO STDOUT", out), out);
        var meta = c.getMetaData();
        show("tables", rows(meta.getTables(null, "public", "o%", new String[] {"TABLE"})));
        show("key", rows(meta.getPrimaryKeys(null, "public", "orders")));
    }

    static String one(Connection c, String sql) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql); ResultSet row = s.executeQuery()) {
            row.next();
            return row.getString(1);
        }
    }

    // Which side answers, before and after a write of the same transaction.
    static void ramp(String mode) throws SQLException {
        String place = "SELECT name FROM place", count = "SELECT n FROM counter WHERE id = 1";
        try (Connection c = open(mode)) {
            c.setAutoCommit(false);
            for (int turn = 0; turn < 10; turn++) {
                System.out.println("jdbc read " + one(c, place) + " " + one(c, place));
                c.commit();
                String first = one(c, place);
                int before = Integer.parseInt(one(c, count));
                try (PreparedStatement add = c.prepareStatement("UPDATE counter SET n = n + 1 WHERE id = 1")) {
                    add.executeUpdate();
                }
                System.out.println("jdbc wrote " + first + " " + one(c, place) + " " + (Integer.parseInt(one(c, count)) - before));
                c.commit();
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            ramp("");
            ramp("&preferQueryMode=simple");
            return;
        }
        try (Connection c = open("")) {
            statements(c, "auto");
            batches(c, "batch");
            cursors(c);
            copies(c);
            c.setAutoCommit(false);
            statements(c, "open");
        }
        // Settings in the start-up message, as poolers like it, rather than by SET.
        try (Connection c = open("&assumeMinServerVersion=15&reWriteBatchedInserts=true&binaryTransfer=true&prepareThreshold=1")) {
            batches(c, "rewritten");
        }
        try (Connection c = open("&preferQueryMode=simple")) {
            statements(c, "simple");
        }
        try (Connection c = open("&autosave=always")) {
            c.setAutoCommit(false);
            statements(c, "saved");
        }
    }
}
