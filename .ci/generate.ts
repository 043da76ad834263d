// npm run generate: writes types/database.ts and supabase/schema.sql from a database that the migrations just made.
import { writeFile } from 'node:fs/promises';
import { withMigratedDatabase } from './database.ts';
import { type GeneratedFile, generatedFiles } from './generated.ts';

await withMigratedDatabase(async ({ url }) => {
  for (const file of Object.keys(generatedFiles) as GeneratedFile[]) {
    await writeFile(file, await generatedFiles[file](url));
    console.log(`wrote ${file}`);
  }
});
