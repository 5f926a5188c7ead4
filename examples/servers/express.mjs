import { createHub } from '@alkdev/pubsub-native/hub';
import express from 'express';

const hub = createHub({ relay: true });
const app = express();
app.get('/', (_request, response) => response.send('hello'));

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`ws://127.0.0.1:${server.address().port}/events`);
});
hub.attach(server, { path: '/events' });
