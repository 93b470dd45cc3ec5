// What users of Custom Vision write in Node to keep what they have: Microsoft's npm SDK lists,
// fetch downloads, the AWS SDK stores, 32 files at a time, and all clients are as their makers set
// them up. Tags and regions go into one file for each project. The benchmarks compare the product
// with it. Its frame is that of the package task: it prints "ready", waits for a line, works,
// prints the result, and ends with its standard input.
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import customVision from "@azure/cognitiveservices-customvision-training";
import msRest from "@azure/ms-rest-js";

const pageSize = 256; // the most images that one call lists
const atOnce = 32;

const { VISION_TRAINING_ENDPOINT, VISION_TRAINING_KEY, CONSUMER_BUCKET: Bucket } = process.env;
const credentials = new msRest.ApiKeyCredentials({ inHeader: { "Training-key": VISION_TRAINING_KEY } });
const vision = new customVision.TrainingAPIClient(credentials, VISION_TRAINING_ENDPOINT);
const s3 = new S3Client({ forcePathStyle: true });
const result = { Files: 0, Bytes: 0 };

// limiter lets so many pieces of work run at once.
function limiter(limit) {
  const waiting = [];
  let running = 0;
  return async (work) => {
    if (running < limit) running++;
    else await new Promise((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      if (waiting.length > 0) waiting.shift()();
      else running--;
    }
  };
}

async function download(link) {
  const response = await fetch(link);
  if (!response.ok) throw new Error(`download: status ${response.status}`);
  return response;
}

async function copyImage(Key, link) {
  const Body = Buffer.from(await (await download(link)).arrayBuffer());
  await s3.send(new PutObjectCommand({ Bucket, Key, Body }));
  result.Files++;
  result.Bytes += Body.length;
}

// copyModel copies a file that may be large, in parts.
async function copyModel(Key, link) {
  const response = await download(link);
  const upload = new Upload({ client: s3, params: { Bucket, Key, Body: Readable.fromWeb(response.body) } });
  let size = 0;
  upload.on("httpUploadProgress", ({ loaded }) => (size = Math.max(size, loaded)));
  await upload.done();
  result.Files++;
  result.Bytes += size;
}

// copyProject copies the images of a workspace and the models exported of its iterations.
async function copyProject(project) {
  const limit = limiter(atOnce);
  const all = [];
  const copies = [];
  for (let skip = 0; ; skip += pageSize) {
    const page = await vision.getImages(project, { taggingStatus: "All", orderBy: "Oldest", take: pageSize, skip });
    for (const image of page) {
      all.push(image);
      copies.push(limit(() => copyImage(`${project}/images/${image.id}`, image.originalImageUri)));
    }
    if (page.length < pageSize) break;
  }
  await Promise.all(copies);
  await s3.send(new PutObjectCommand({ Bucket, Key: `${project}/images.json`, Body: JSON.stringify(all) }));
  for (const iteration of await vision.getIterations(project)) {
    for (const e of await vision.getExports(project, iteration.id)) {
      await copyModel(`${project}/exports/${iteration.id}-${e.platform}`, e.downloadUri);
    }
  }
}

console.log("ready");
let told = false;
for await (const _ of createInterface({ input: process.stdin })) {
  if (told) continue;
  told = true;
  for (const { id } of await vision.getProjects()) await copyProject(id);
  console.log(JSON.stringify(result));
}
process.exit();
