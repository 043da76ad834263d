/**
 * @supabase/lite replaces process.emitWarning when it is imported, and its version throws on a warning that is an
 * Error (`warning.includes is not a function`). So it is imported here only, and Node's function is put back.
 */
export async function importLite() {
  const emitWarning = process.emitWarning;
  try {
    const { App, getAuthSchemaSql } = await import('@supabase/lite');
    const { PostgresConnection } = await import('@supabase/lite/postgres');
    return { App, getAuthSchemaSql, PostgresConnection };
  } finally {
    process.emitWarning = emitWarning;
  }
}
