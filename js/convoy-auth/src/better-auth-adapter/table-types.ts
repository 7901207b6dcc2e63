/** The types of the tables of Better Auth, from its options: its own models, those of plugins, and additional fields. */

import type { RefType, TableDefinition } from '@avvos/convoy';
import type { BetterAuthOptions } from 'better-auth';
import type { DBFieldAttribute } from 'better-auth/db';
import type { z } from 'zod';

/**
 * The tables that `betterAuthTables` returns: `user`, `session`, `account`, `verification` and those of the plugins, under
 * the names that the options give them.
 */
export type BetterAuthTables<Options extends BetterAuthOptions> = {
  readonly [Model in OwnModel<Options> | PluginModel<Options> as TableName<Options, Model>]: Table<
    Renamed<Options, Model, Shape<Options, Model>>,
    Indexes<Options, Model>
  >;
};

type CoreModel = 'user' | 'session' | 'account' | 'verification' | 'rateLimit';

/** The models of Better Auth itself that are stored in the database with these options. */
type OwnModel<Options> =
  | 'user'
  | 'account'
  | (Options extends { readonly secondaryStorage: object }
      ?
          | (Options extends { readonly session: { readonly storeSessionInDatabase: true } } ? 'session' : never)
          | (Options extends { readonly verification: { readonly storeInDatabase: true } } ? 'verification' : never)
      : 'session' | 'verification')
  | (Options extends { readonly rateLimit: { readonly storage: 'database' } } ? 'rateLimit' : never);

/** The fields that a model of Better Auth has in any case. Dates are numbers. */
interface CoreShapes<User extends string> {
  readonly user: {
    readonly name: z.ZodString;
    readonly email: z.ZodString;
    readonly emailVerified: z.ZodBoolean;
    readonly image: Maybe<z.ZodString>;
    readonly createdAt: z.ZodNumber;
    readonly updatedAt: z.ZodNumber;
  };
  readonly session: {
    readonly userId: RefType<User>;
    readonly token: z.ZodString;
    readonly sealedToken: z.ZodOptional<z.ZodString>;
    readonly expiresAt: z.ZodNumber;
    readonly ipAddress: Maybe<z.ZodString>;
    readonly userAgent: Maybe<z.ZodString>;
    readonly createdAt: z.ZodNumber;
    readonly updatedAt: z.ZodNumber;
  };
  readonly account: {
    readonly userId: RefType<User>;
    readonly accountId: z.ZodString;
    readonly providerId: z.ZodString;
    readonly accessToken: Maybe<z.ZodString>;
    readonly refreshToken: Maybe<z.ZodString>;
    readonly idToken: Maybe<z.ZodString>;
    readonly accessTokenExpiresAt: Maybe<z.ZodNumber>;
    readonly refreshTokenExpiresAt: Maybe<z.ZodNumber>;
    readonly scope: Maybe<z.ZodString>;
    readonly password: Maybe<z.ZodString>;
    readonly createdAt: z.ZodNumber;
    readonly updatedAt: z.ZodNumber;
  };
  readonly verification: {
    readonly identifier: z.ZodString;
    readonly value: z.ZodString;
    readonly expiresAt: z.ZodNumber;
    readonly createdAt: z.ZodNumber;
    readonly updatedAt: z.ZodNumber;
  };
  readonly rateLimit: {
    readonly key: z.ZodString;
    readonly count: z.ZodNumber;
    readonly lastRequest: z.ZodNumber;
  };
}

interface CoreIndexes {
  readonly user: { readonly by_email: readonly ['email'] };
  readonly session: { readonly by_token: readonly ['token']; readonly by_userId: readonly ['userId'] };
  readonly account: {
    readonly by_providerId_accountId: readonly ['providerId', 'accountId'];
    readonly by_userId: readonly ['userId'];
  };
  readonly verification: {
    readonly by_expiresAt: readonly ['expiresAt'];
    readonly by_identifier: readonly ['identifier'];
  };
  readonly rateLimit: { readonly by_key: readonly ['key'] };
}

type Maybe<Schema extends z.ZodType> = z.ZodOptional<z.ZodNullable<Schema>>;

type Table<Fields, Names> = TableDefinition<
  z.ZodObject<{ -readonly [Name in keyof Fields]: Fields[Name] & z.ZodType } & { givenId: z.ZodOptional<z.ZodString> }>,
  { readonly [Name in keyof Names]: Names[Name] & readonly string[] }
>;

type Shape<Options extends BetterAuthOptions, Model extends string> = Merge<
  (Model extends CoreModel ? CoreShapes<TableName<Options, 'user'>>[Model] : unknown) & {
    readonly [Field in keyof AddedFields<Options, Model>]: FieldSchema<Options, AddedFields<Options, Model>[Field]>;
  }
>;

type Merge<Fields> = { readonly [Name in keyof Fields]: Fields[Name] };

type Indexes<Options extends BetterAuthOptions, Model extends string> = (Model extends CoreModel
  ? RenamedIndexes<Options, Model, CoreIndexes[Model]>
  : unknown) & {
  readonly [Field in keyof AddedFields<Options, Model> & string as AddedFields<Options, Model>[Field] extends
    | { readonly unique: true }
    | { readonly index: true }
    | { readonly references: object }
    ? `by_${Field}`
    : never]: readonly [Field];
};

/** Of renamed fields, the indexes have other names, too. */
type RenamedIndexes<Options, Model, Core> = Options extends {
  readonly [M in Model & string]: { readonly fields: object };
}
  ? unknown
  : Core;

/** The fields that plugins and the options add to a model. */
type AddedFields<Options extends BetterAuthOptions, Model extends string> = PluginFields<Options, Model> &
  (Options extends { readonly [M in Model]: { readonly additionalFields: infer Fields } } ? Fields : unknown);

type PluginSchemas<Options extends BetterAuthOptions> = Options extends { readonly plugins: readonly (infer Plugin)[] }
  ? Plugin extends { readonly schema: infer Schema }
    ? Schema
    : never
  : never;

type PluginModel<Options extends BetterAuthOptions> = KnownKeys<Union<PluginSchemas<Options>>>;

/** Without an index signature, which would accept any name of a table. */
type KnownKeys<Schemas> = keyof Schemas extends infer Key
  ? Key extends string
    ? string extends Key
      ? never
      : Key
    : never
  : never;

type Union<Each> = (Each extends unknown ? (each: Each) => void : never) extends (all: infer All) => void
  ? All
  : unknown;

type PluginFields<Options extends BetterAuthOptions, Model extends string> = Union<
  PluginSchemas<Options> extends infer Schema
    ? Schema extends { readonly [M in Model]: { readonly fields: infer Fields } }
      ? Fields
      : never
    : never
>;

type FieldSchema<Options extends BetterAuthOptions, Field> = Field extends { readonly required: false }
  ? Maybe<RequiredSchema<Options, Field>>
  : RequiredSchema<Options, Field>;

type RequiredSchema<Options extends BetterAuthOptions, Field> = Field extends {
  readonly references: { readonly model: infer Model extends string; readonly field: 'id' };
}
  ? string extends Model
    ? z.ZodString
    : RefType<TableName<Options, Model>>
  : Field extends { readonly type: infer Type extends DBFieldAttribute['type'] }
    ? ScalarSchema<Type>
    : z.ZodType;

type ScalarSchema<Type> = Type extends 'string'
  ? z.ZodString
  : Type extends 'number' | 'date'
    ? z.ZodNumber
    : Type extends 'boolean'
      ? z.ZodBoolean
      : Type extends 'string[]'
        ? z.ZodArray<z.ZodString>
        : Type extends 'number[]'
          ? z.ZodArray<z.ZodNumber>
          : Type extends 'json'
            ? z.ZodJSONSchema
            : Type extends readonly (infer Value extends string)[]
              ? z.ZodEnum<{ [V in Value]: V }>
              : z.ZodType;

type TableName<Options, Model extends string> = Options extends {
  readonly [M in Model]: { readonly modelName: infer Name extends string };
}
  ? Name
  : Model;

type Renamed<Options, Model extends string, Fields> = Options extends {
  readonly [M in Model]: { readonly fields: infer Names };
}
  ? {
      readonly [Field in keyof Fields as Field extends keyof Names
        ? Names[Field] extends string
          ? Names[Field]
          : Field
        : Field]: Fields[Field];
    }
  : Fields;
