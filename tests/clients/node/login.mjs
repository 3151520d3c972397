// Log in to a gate with Google's Node client, ask one query, and print one JSON object: the answer, or the error.
//
//   node login.mjs URL PROJECT token|file|default|signed [TOKEN or FILE]
//
// Called by test_login_node.py. `token`: a static token in an OAuth2Client; `file`: an external-account file as
// keyFilename; `default`: what GOOGLE_APPLICATION_CREDENTIALS names, with the gate in BIGQUERY_EMULATOR_HOST;
// `signed`: a key file whose holder signs its own tokens, as the client would else take them to Google.

import {readFileSync} from 'node:fs';

import {BigQuery} from '@google-cloud/bigquery';
import {JWT, OAuth2Client} from 'google-auth-library';

const [url, projectId, how, secret] = process.argv.slice(2);

const ways = {
  token() {
    const authClient = new OAuth2Client();
    authClient.setCredentials({access_token: secret});
    return {apiEndpoint: url, authClient};
  },
  file: () => ({apiEndpoint: url, keyFilename: secret}),
  default: () => ({}),
  signed() {
    const {client_email: email, private_key: key, private_key_id: keyId} = JSON.parse(readFileSync(secret));
    const authClient = new JWT({email, key, keyId, scopes: ['https://www.googleapis.com/auth/bigquery']});
    authClient.useJWTAccessWithScope = true;
    return {apiEndpoint: url, authClient};
  },
};

const bigquery = new BigQuery({projectId, retryOptions: {maxRetries: 0}, ...ways[how]()});
try {
  const query = 'SELECT COUNT(*) AS n FROM nycflights13.airlines';
  const [[row]] = await bigquery.query({query, useQueryCache: false});
  process.stdout.write(JSON.stringify({n: row.n}));
} catch (error) {
  const code = error.code ?? error.status ?? error.response?.status;
  process.stdout.write(JSON.stringify({code, message: error.message}));
}
