/** What the operator hears of; no secret ever goes there. */
export interface AuthLog {
	warn(fields: object, message: string): void;
}
