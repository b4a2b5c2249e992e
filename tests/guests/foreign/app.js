// A function in JavaScript: answers in JSON what it was asked.
import { getEnvironment } from 'wasi:cli/environment@0.2.12';
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.12';

export const incomingHandler = {
  handle(request, responseOut) {
    const variables = Object.fromEntries(getEnvironment());
    const answer = JSON.stringify({
      language: 'JavaScript',
      path: request.pathWithQuery(),
      greeting: variables.GREETING ?? null,
      sorted: (variables.WORDS ?? '').split(' ').filter(Boolean).sort(),
    });
    const response = new OutgoingResponse(
      Fields.fromList([['content-type', new TextEncoder().encode('application/json')]]),
    );
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });
    const stream = body.write();
    stream.blockingWriteAndFlush(new TextEncoder().encode(answer));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
