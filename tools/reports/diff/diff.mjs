// The CDK's own comparison of templates, as JSON. Asked in the argument: {"stacks": {name: [base template, head template]}}.
// Answered: for each stack the resources that differ, with what CloudFormation's resource schemas say will become of them; all
// resource types that hold state; and the properties that identify a resource of each type, if a template can set all of them.
import { readFileSync } from 'node:fs';
import engine from '@aws-cdk/cloudformation-diff';
import schemas from '@aws-cdk/cloudformation-diff/lib/diff/util.js';

const EMPTY = { Resources: {} };
const read = (path) => (path ? JSON.parse(readFileSync(path, 'utf8')) : EMPTY);

const { stacks } = JSON.parse(process.argv[2]);
const compared = {};
const types = new Set();
for (const [name, [base, head]] of Object.entries(stacks)) {
  const templates = [read(base), read(head)];
  templates.forEach((one) => Object.values(one.Resources ?? {}).forEach((resource) => types.add(resource.Type)));
  compared[name] = {};
  engine.fullDiff(...templates).resources.forEachDifference((logicalId, change) => {
    if (!change.isDifferent) return;
    const properties = Object.entries(change.propertyUpdates).map(([key, update]) => [key, update.changeImpact]);
    compared[name][logicalId] = {
      impact: change.changeImpact,
      properties: Object.fromEntries(properties),
      attributes: Object.keys(change.otherChanges),
    };
  });
}
const stateful = [...types].filter((type) => schemas.loadResourceModel(type)?.isStateful).sort();
const identifiers = {};
for (const type of [...types].sort()) {
  const schema = schemas.loadResourceModel(type);
  const names = schema?.primaryIdentifier ?? [];
  if (names.length && names.every((name) => name in schema.properties)) identifiers[type] = names;
}
process.stdout.write(JSON.stringify({ stacks: compared, stateful, identifiers }));
