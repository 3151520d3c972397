// Run queries with Google's Node client and print one JSON object of what came back.
//
//   node clients.mjs URL PROJECT endpoint|emulator CSV_FILE
//
// Called by test_node.py. URL is the gate's, which `endpoint` hands to the client as apiEndpoint; for `emulator` the
// caller has put it into BIGQUERY_EMULATOR_HOST and the client finds it there. Every step ends in a value or in the
// error that the client threw, so that one failure does not hide the others.

import {BigQuery} from '@google-cloud/bigquery';
import {OAuth2Client} from 'google-auth-library';

const [url, projectId, how, csvFile] = process.argv.slice(2);
const authClient = new OAuth2Client();
authClient.setCredentials({access_token: 'a-token', expiry_date: Date.now() + 3_600_000});
const options = {projectId, authClient};
const bigquery = new BigQuery(how === 'endpoint' ? {...options, apiEndpoint: url} : options);
const noCache = {useQueryCache: false};

const steps = {
  async query() {
    const [rows] = await bigquery.query({query: 'SELECT @n + 1 AS n, @s AS s', params: {n: 41, s: 'žluť'}});
    return rows;
  },
  async queryOfAKnownCost() {
    const [rows] = await bigquery.query({query: 'SELECT a FROM shop.t', ...noCache});
    return rows.length;
  },
  async createQueryJob() {
    const query = 'SELECT x FROM UNNEST(GENERATE_ARRAY(1, 25000)) AS x ORDER BY x';
    const [job] = await bigquery.createQueryJob({query, jobId: 'node-job'});
    const [rows] = await job.getQueryResults();
    return {id: job.id, count: rows.length, last: rows.at(-1).x};
  },
  async dryRun() {
    const [job] = await bigquery.createQueryJob({query: 'SELECT a FROM shop.huge', dryRun: true, ...noCache});
    return job.metadata.statistics.totalBytesProcessed;
  },
  async tables() {
    const [tables] = await bigquery.dataset('shop').getTables();
    return tables.map(table => table.id).sort();
  },
  async insert() {
    const [dataset] = await bigquery.createDataset('notes');
    const [table] = await dataset.createTable('n', {schema: 'id:integer,text:string'});
    await table.insert([{id: 1, text: 'a'}]);
    const [rows] = await table.getRows();
    return rows;
  },
  async load() {
    const schema = {fields: [{name: 'id', type: 'INTEGER'}, {name: 'text', type: 'STRING'}]};
    const metadata = {sourceFormat: 'CSV', schema, skipLeadingRows: 1};
    const [job] = await bigquery.dataset('shop').table('loaded').load(csvFile, metadata);
    return [job.status.state, job.statistics.load.outputRows];
  },
  async tooBig() {
    await bigquery.query({query: 'SELECT a FROM shop.huge', ...noCache});
  },
  async usedUp() {
    await bigquery.query({query: 'SELECT a FROM shop.most', ...noCache});
    await bigquery.query({query: 'SELECT a + 1 FROM shop.most', ...noCache});
  },
  async usedUpByJob() {
    await bigquery.createQueryJob({query: 'SELECT a + 2 FROM shop.most', ...noCache});
  },
  async invalid() {
    await bigquery.query('SELEC 1');
  },
  async invalidJob() {
    const [job] = await bigquery.createQueryJob('SELEC 1');
    await job.getQueryResults();
  },
};

const results = {};
for (const [name, step] of Object.entries(steps)) {
  try {
    results[name] = {value: await step()};
  } catch (error) {
    results[name] = {error: {code: error.code, reason: error.errors?.[0]?.reason, message: error.message}};
  }
}
process.stdout.write(JSON.stringify(results));
