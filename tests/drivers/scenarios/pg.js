// node's pg: queries in text and prepared, cursors, COPY streams, a pool.
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const copy = require('pg-copy-streams')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')

const run = Number(process.env.RUN)
const email = (name) => `node.${name}.${run}@example.com`
const show = (label, ...seen) => console.log(label, ...seen.map((value) => JSON.stringify(value)))
const columns = (result) => result.fields.map((f) => [f.name, f.dataTypeID, f.format])

async function attempt(label, action) {
  try {
    show(label, await action())
  } catch ({ message, code, position, detail, constraint, table }) {
    show(label, { message, code, position, detail, constraint, table })
  }
}

async function statements(client) {
  const insert = 'INSERT INTO customers (email, born, tags, photo) VALUES ($1, $2, $3, $4) RETURNING email, balance, tags, photo'
  const made = await client.query(insert, [email('a'), '1990-01-31', ['x', 'y'], Buffer.from([0, 1, 255])])
  show('returning', made.rows, made.command, made.rowCount, columns(made))
  for (let turn = 0; turn < 4; turn++) {
    const changed = await client.query({ name: 'raise', text: 'UPDATE customers SET balance = balance + $2 WHERE email = $1', values: [email('a'), turn] })
    show('named', changed.command, changed.rowCount, columns(changed))
    const read = await client.query({ name: 'balance', text: 'SELECT balance, born FROM customers WHERE email = $1', values: [email('a')], rowMode: 'array' })
    show('read', read.rows)
  }
  const several = await client.query(`INSERT INTO events (what) VALUES ('n'); SELECT 1 AS one; DELETE FROM orders WHERE line < 0`)
  show('several', several.map((r) => [r.command, r.rowCount, r.rows]))
  const binary = await client.query({ text: 'SELECT 7::int4 AS n, photo FROM customers WHERE email = $1', values: [email('a')], binary: true })
  show('binary', binary.rows.map((r) => Number(r.n)), columns(binary))
  await attempt('conflict', () => client.query('INSERT INTO customers (email) VALUES ($1)', [email('a')]))
  await attempt('position', () => client.query('DELETE FROM customers WHERE nothing = 1'))
}

async function transactions(client) {
  await client.query('BEGIN')
  await client.query('INSERT INTO customers (email) VALUES ($1)', [email('kept')])
  await client.query('SAVEPOINT s')
  await attempt('failed', () => client.query('INSERT INTO customers (email) VALUES ($1)', [email('kept')]))
  await attempt('aborted', () => client.query('SELECT 1'))
  await client.query('ROLLBACK TO s')
  await client.query('COMMIT')
  show('kept', (await client.query('SELECT count(*) FROM customers WHERE email = $1', [email('kept')])).rows)
  const queued = [1, 2, 3, 4, 5].map((n) => client.query('INSERT INTO events (what) VALUES ($1) RETURNING what', [`q${n}`]))
  show('queued', (await Promise.all(queued)).map((r) => r.rows[0].what))
}

async function cursors(client) {
  const cursor = client.query(new Cursor('SELECT n, n * n AS square FROM generate_series(1, $1::int) n', [10]))
  show('cursor', await cursor.read(4), await cursor.read(4), await cursor.read(4))
  await cursor.close()
  const returning = client.query(new Cursor(`UPDATE customers SET balance = 1 WHERE email LIKE $1 RETURNING balance`, [email('%')]))
  show('returning', await returning.read(1), await returning.read(10))
  await returning.close()
}

async function copies(client) {
  const lines = Array.from({ length: 100 }, (_, n) => `${run * 1000 + n}\tname ${n}\t${n / 4}\t\\N\t\\\\x00ff\n`)
  const into = client.query(copy.from('COPY copied FROM STDIN'))
  await pipeline(Readable.from(lines), into)
  show('copied', into.rowCount)
  const out = client.query(copy.to('COPY (SELECT id, name FROM copied WHERE id % 25 = 0 ORDER BY id) TO STDOUT'))
  let text = ''
  for await (const chunk of out) text += chunk
  show('out', text)
}

async function main() {
  const client = new Client()
  client.on('notice', (notice) => show('notice', notice.severity, notice.message))
  client.on('notification', ({ channel, payload }) => show('notification', channel, payload))
  await client.connect()
  for (const part of [statements, transactions, cursors, copies]) await part(client)
  await client.query('LISTEN news')
  await client.query(`NOTIFY news, 'hello'`)
  await client.query(`DO $$ BEGIN RAISE NOTICE 'said'; END $$`)
  await client.end()
  const pool = new Pool({ max: 4 })
  const counts = await Promise.all(Array.from({ length: 12 }, () => pool.query('SELECT count(*) FROM customers WHERE email LIKE $1', [email('%')])))
  show('pooled', counts.map((r) => r.rows[0].count))
  await pool.end()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
