// Has the AI SDK ask one vendor for an edit of an image, at an address of ours that records the request.
// Reads {vendor, url, key, model, image (base64), ...arguments of generateImage} from its standard input.
import { createBlackForestLabs } from '@ai-sdk/black-forest-labs';
import { createFal } from '@ai-sdk/fal';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import { createReplicate } from '@ai-sdk/replicate';
import { createTogetherAI } from '@ai-sdk/togetherai';
import { createXai } from '@ai-sdk/xai';
import { generateImage } from 'ai';
import { text } from 'node:stream/consumers';

const makers = {
  bfl: ({ url, key }) => createBlackForestLabs({ baseURL: url, apiKey: key }),
  fal: ({ url, key }) => createFal({ baseURL: url, apiKey: key }),
  gemini: ({ url, key }) => createGoogleGenerativeAI({ baseURL: url, apiKey: key }),
  openai: ({ url, key }) => createOpenAI({ baseURL: url, apiKey: key }),
  replicate: ({ url, key }) => createReplicate({ baseURL: url, apiToken: key }),
  together: ({ url, key }) => createTogetherAI({ baseURL: url, apiKey: key }),
  xai: ({ url, key }) => createXai({ baseURL: url, apiKey: key }),
};

const { vendor, url, key, model, image, prompt, ...rest } = JSON.parse(await text(process.stdin));
try {
  await generateImage({
    model: makers[vendor]({ url, key }).image(model),
    prompt: { text: prompt, images: [Buffer.from(image, 'base64')] },
    maxRetries: 0,
    ...rest,
  });
} catch (error) {
  // What it makes of the answer is no part of this; the request has been recorded.
  console.error(String(error));
}
