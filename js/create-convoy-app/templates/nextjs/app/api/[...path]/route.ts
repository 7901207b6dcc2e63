import { convoy } from '../../../convoy/convoy';

const handle = async (request: Request) => (await convoy()).handlers.POST(request);

export { handle as GET, handle as OPTIONS, handle as POST };
