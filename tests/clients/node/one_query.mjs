// Run one query with Google's Node client, which may try once more, and print the error that it ends with as JSON.
//
//   node one_query.mjs URL PROJECT SQL

import {BigQuery} from '@google-cloud/bigquery';
import {OAuth2Client} from 'google-auth-library';

const [apiEndpoint, projectId, query] = process.argv.slice(2);
const authClient = new OAuth2Client();
authClient.setCredentials({access_token: 'a-token', expiry_date: Date.now() + 3_600_000});
const bigquery = new BigQuery({projectId, authClient, apiEndpoint, retryOptions: {maxRetries: 1}});

try {
  const [rows] = await bigquery.query({query, useQueryCache: false});
  process.stdout.write(JSON.stringify({rows: rows.length}));
} catch (error) {
  process.stdout.write(JSON.stringify({code: error.code, reason: error.errors?.[0]?.reason, message: error.message}));
}
